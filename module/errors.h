/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* From the core's errors to errno: the only place where both are known. */
#ifndef QUARRY_SHIM_ERRORS_H
#define QUARRY_SHIM_ERRORS_H

int quarry_errno(int error);
const char *quarry_error_text(int error);

#endif /* QUARRY_SHIM_ERRORS_H */
