/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one definition of every map of maps.bpf.h, and of the knobs. Linked first. */
#include "maps.bpf.h"

volatile __u32 own_turns[SAMPLE_SETS][SAMPLE_OWN_BLOCKS] = {};
volatile struct knobs knobs = { .rules_epoch = 1, .turn = SAMPLE_SETS };

struct map_grace grace SEC(".maps");
struct map_counters counters SEC(".maps");
struct map_scratch scratch SEC(".maps");
struct map_blocks blocks SEC(".maps");
struct map_processes processes SEC(".maps");
struct map_execs execs SEC(".maps");
struct map_mappings mappings SEC(".maps");
struct map_directory directory SEC(".maps");
struct map_wanted wanted SEC(".maps");
struct map_rows rows SEC(".maps");
struct map_escapes escapes SEC(".maps");

char maps_license[] SEC("license") = "Dual BSD/GPL";
