// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The one mapping from enum quarry_error to errno, made from the seam's list. */
#include <linux/errno.h>
#include <linux/kernel.h>

#include "include/quarry_seam.h"
#include "errors.h"

static const struct {
	int number;
	const char *text;
} quarry_errors[QUARRY_ERROR_COUNT] = {
	[QUARRY_OK] = { 0, "done" },
#define QUARRY_ERROR_ENTRY(name, errno_name, words) \
	[QUARRY_E_##name] = { errno_name, words },
	QUARRY_ERRORS(QUARRY_ERROR_ENTRY)
#undef QUARRY_ERROR_ENTRY
};

/**
 * quarry_errno() - the errno of a core error
 * @error: an enum quarry_error
 *
 * Context: any.
 * Return: 0 for QUARRY_OK, else a negative errno; -EUCLEAN for what is no error
 * of the core, which only damage to the core itself could bring about.
 */
int quarry_errno(int error)
{
	if (error < 0 || error >= QUARRY_ERROR_COUNT)
		return -EUCLEAN;
	return -quarry_errors[error].number;
}

/**
 * quarry_error_text() - a core error in words
 * @error: an enum quarry_error
 *
 * Context: any.
 * Return: a constant string, never NULL.
 */
const char *quarry_error_text(int error)
{
	if (error < 0 || error >= QUARRY_ERROR_COUNT)
		return "no error of the core";
	return quarry_errors[error].text;
}
