/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a line program: its directories and files, as lists before DWARF 5, as described tables since. */
#include "dwarf_files.h"

#include "dwarf_const.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_FORMATS 32

static bool add_directory(struct dwarf_lines *lines, const char *name)
{
	const char **grown;
	size_t count = lines->directory_count;

	if (count >= DWARF_MAX_FILES)
		return false;
	if (!(count & (count - 1))) { /* full whenever the count is a power of two */
		grown = realloc(lines->directories, (count ? count * 2 : 1) * sizeof(*grown));
		if (!grown)
			return false;
		lines->directories = grown;
	}
	lines->directories[lines->directory_count++] = name;
	return true;
}

bool dwarf_files_add(struct dwarf_lines *lines, const char *name, uint64_t directory)
{
	struct dwarf_file *grown;
	size_t count = lines->file_count;

	if (count >= DWARF_MAX_FILES)
		return false;
	if (!(count & (count - 1))) {
		grown = realloc(lines->files, (count ? count * 2 : 1) * sizeof(*grown));
		if (!grown)
			return false;
		lines->files = grown;
	}
	lines->files[lines->file_count++] = (struct dwarf_file){
		name, directory > UINT32_MAX ? UINT32_MAX : (uint32_t)directory };
	return true;
}

static void read_lists(struct cursor *cursor, struct dwarf_lines *lines)
{
	const char *name;

	while ((name = cursor_string(cursor)) && *name)
		if (!add_directory(lines, name))
			return cursor_fail(cursor);
	while ((name = cursor_string(cursor)) && *name) {
		uint64_t directory = cursor_uleb(cursor);

		cursor_uleb(cursor); /* time */
		cursor_uleb(cursor); /* size */
		if (!dwarf_files_add(lines, name, directory))
			return cursor_fail(cursor);
	}
}

/* One table of DWARF 5: a description of the columns, then the rows. */
static void read_table(struct dwarf *dwarf, const struct dwarf_unit *unit, struct cursor *cursor, bool directories,
		       struct dwarf_lines *lines)
{
	struct dwarf_attribute formats[MAX_FORMATS];
	uint8_t columns = cursor_u8(cursor);
	uint64_t count;

	if (columns > MAX_FORMATS)
		return cursor_fail(cursor);
	for (uint8_t at = 0; at < columns; at++) {
		uint64_t name = cursor_uleb(cursor), form = cursor_uleb(cursor);

		formats[at] = (struct dwarf_attribute){ (uint16_t)name, form > UINT16_MAX ? 0 : (uint16_t)form, UINT32_MAX, 0 };
	}
	count = cursor_uleb(cursor);
	if (count > DWARF_MAX_FILES || (count && !columns))
		return cursor_fail(cursor);
	for (; count && !cursor->failed; count--) {
		struct dwarf_value value, path = { 0 };
		uint64_t directory = 0;

		for (uint8_t at = 0; at < columns; at++) {
			dwarf_read_form(unit, cursor, &formats[at], &value);
			if (formats[at].name == LNCT_PATH)
				path = value;
			else if (formats[at].name == LNCT_DIRECTORY_INDEX)
				directory = value.number;
		}
		if (directories ? !add_directory(lines, dwarf_string(dwarf, unit, &path))
				: !dwarf_files_add(lines, dwarf_string(dwarf, unit, &path), directory))
			return cursor_fail(cursor);
	}
}

void dwarf_files_read(struct dwarf *dwarf, const struct dwarf_unit *unit, struct cursor *cursor, struct dwarf_lines *lines)
{
	if (lines->version < 5)
		return read_lists(cursor, lines);
	read_table(dwarf, unit, cursor, true, lines);
	read_table(dwarf, unit, cursor, false, lines);
}

static const char *file_directory(const struct dwarf_lines *lines, uint32_t number)
{
	size_t index = lines->version >= 5 ? number : (size_t)number - 1; /* 0 before 5: the unit's own */

	return index < lines->directory_count ? lines->directories[index] : NULL;
}

size_t dwarf_lines_path(const struct dwarf_lines *lines, const struct dwarf_unit *unit, uint64_t file, char *out, size_t size)
{
	uint64_t index = lines->version >= 5 ? file : file - 1;
	const char *name = NULL, *directory = NULL, *unit_directory = unit->directory ? unit->directory : "";
	int length;

	if (index < lines->file_count) {
		name = lines->files[index].name;
		directory = file_directory(lines, lines->files[index].directory);
	}
	if (!name || !*name || !size)
		return 0;
	if (!directory)
		directory = "";
	if (*name == '/')
		unit_directory = directory = "";
	else if (*directory == '/')
		unit_directory = "";
	length = snprintf(out, size, "%s%s%s%s%s", unit_directory, *unit_directory ? "/" : "", directory,
			  *directory ? "/" : "", name);
	if (length < 0)
		return 0;
	return (size_t)length < size ? (size_t)length : size - 1;
}
