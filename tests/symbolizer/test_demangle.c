/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "symbolizer/demangle.h"

static void check(const char *mangled, const char *wanted)
{
	char out[DEMANGLE_MAX_OUTPUT + 1];
	size_t length = demangle(mangled, out, sizeof(out));

	assert_string_equal(out, wanted);
	assert_int_equal(length, strlen(wanted));
}

static void test_cxx(void **state)
{
	(void)state;
	check("_Z3foov", "foo");
	check("_ZN5outer5inner3boxIiE4hardEi", "outer::inner::box<int>::hard");
	check("_ZNK5outer5inner3boxIiE5twiceEv", "outer::inner::box<int>::twice");
	check("_Z3mixIiEiRKT_i", "mix<int>");
	check("_ZN3FooC1Ev", "Foo::Foo");
	check("_ZN3FooD0Ev", "Foo::~Foo");
	check("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back");
	check("_ZN12_GLOBAL__N_13barEv", "(anonymous namespace)::bar");
	check("_ZplRK1AS1_", "operator+");
	check("_ZZ4mainENKUliiE_clEii", "main::{lambda(int, int)#1}::operator()");
	check("_ZTV3Foo", "vtable for Foo");
	check("_ZThn16_N3Foo3barEv", "non-virtual thunk to Foo::bar()");
	check("_Z3foov.part.0", "foo");
	check("_ZN3foo3barEv.constprop.0.isra.1", "foo::bar");
}

static void test_rust(void **state)
{
	(void)state;
	check("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad");
	check("_ZN60_$LT$alloc..string..String$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE",
	      "<alloc::string::String as core::fmt::Display>::fmt");
	check("_ZN4core3ops8function6FnOnce9call_once17h0123456789abcdefE.llvm.1234567890",
	      "core::ops::function::FnOnce::call_once");
	check("_RNvC6_123foo3bar", "123foo::bar");
	check("_RNvMs4_NtCslNYArtu3iFV_5alloc7raw_vecNtB5_11RawVecInner8grow_one", "<alloc::raw_vec::RawVecInner>::grow_one");
	check("_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>");
	check("_RNCNvC4main4work0", "main::work::{closure#0}");
}

static void test_plain(void **state)
{
	(void)state;
	check("", "");
	check("_", "_");
	check("_Z", "_Z");
	check("_R", "_R");
	check("main", "main");
	check("Zebra", "Zebra");
	check("quicksort.constprop.0", "quicksort.constprop.0");
	check("_Znonsense", "_Znonsense");
	check("_ZN3foo", "_ZN3foo");
	check("_RNvC", "_RNvC");
	check("runtime.mallocgc", "runtime.mallocgc");
	check("memcpy@plt", "memcpy@plt");
	check("memcpy@@GLIBC_2.14", "memcpy");
	check("memcpy@GLIBC_2.2.5", "memcpy");
	check("_ZNSo3putEc@@GLIBCXX_3.4", "std::ostream::put");
	check("@odd", "@odd");
}

static void test_cut(void **state)
{
	char out[8] = "xxxxxxx";

	(void)state;
	assert_int_equal(demangle("_ZN5outer5innerEv", out, sizeof(out)), 7);
	assert_string_equal(out, "outer::");
	assert_int_equal(demangle("quicksort", out, 4), 3);
	assert_string_equal(out, "qui");
	assert_int_equal(demangle("quicksort", out, 1), 0);
	assert_string_equal(out, "");
	out[0] = 'k';
	assert_int_equal(demangle("quicksort", out, 0), 0);
	assert_int_equal(out[0], 'k');
}

/* Every round of the C++ name doubles its text by back references: 2^40 bytes if nobody stops it. */
static void test_explosion(void **state)
{
	static const char seq[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char name[1024] = "_Z1fISt4pairIiiES_IS0_S0_E", out[DEMANGLE_MAX_OUTPUT + 1];
	size_t at = strlen(name);
	clock_t start = clock();

	(void)state;
	for (int round = 1; round < 34; round++) { /* pair<pair<…>, pair<…>>, each from the one before */
		memcpy(name + at, "S_IS", 4);
		name[at + 4] = seq[round];
		memcpy(name + at + 5, "_S", 2);
		name[at + 7] = seq[round];
		memcpy(name + at + 8, "_E", 2);
		at += 10;
	}
	memcpy(name + at, "EvT_", 5);
	assert_int_equal(demangle(name, out, sizeof(out)), strlen(name));
	assert_string_equal(out, name);
	assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 1.0);
}

/* A binder of 62^10 lifetimes in the part of an impl that is not printed: nothing comes out, and it never ends. */
static void test_silent_loop(void **state)
{
	static const char name[] = "_RNvXINtC1a1bFGzzzzzzzzzz_EuEuNtC1a1b1c";
	char out[DEMANGLE_MAX_OUTPUT + 1];
	clock_t start = clock();

	(void)state;
	for (int round = 0; round < 3; round++) {
		demangle(name, out, sizeof(out));
		assert_string_equal(out, name);
		check("_Z3foov", "foo"); /* and works again */
	}
	assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 1.0);
	assert_true(clock() - start > CLOCKS_PER_SEC / 100); /* else the name no longer loops, and tests nothing */
}

static void test_deep_and_long(void **state)
{
	static char name[DEMANGLE_MAX_INPUT * 2], out[DEMANGLE_MAX_OUTPUT];
	const char *const openings[] = { "_Z1fP", "_Z1fIN", "_RI", "_RNvB", "_ZN1aI", "_ZZ" };

	(void)state;
	for (size_t at = 0; at < sizeof(openings) / sizeof(openings[0]); at++) {
		size_t start = strlen(openings[at]);

		for (size_t length = 64; length < sizeof(name); length = length * 3 / 2) {
			strcpy(name, openings[at]);
			for (size_t i = start; i < length; i++) /* the last part of the opening, over and over */
				name[i] = name[2 + (i - start) % (start - 2)];
			name[length] = '\0';
			size_t got = demangle(name, out, sizeof(out));

			assert_int_equal(got, strlen(out));
			assert_true(got > 0);
		}
	}
	memset(name, 'a', sizeof(name) - 1);
	memcpy(name, "_Z6000", 6); /* well formed, but longer than the limit */
	memcpy(name + 6006, "v", 2);
	assert_int_equal(demangle(name, out, sizeof(out)), 6007);
	assert_memory_equal(out, "_Z6000aaa", 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cxx), cmocka_unit_test(test_rust), cmocka_unit_test(test_plain),
		cmocka_unit_test(test_cut), cmocka_unit_test(test_explosion),
		cmocka_unit_test(test_silent_loop), cmocka_unit_test(test_deep_and_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
