// SPDX-License-Identifier: MIT
/* The kernel's drm_mm, as it is in the sources of this kernel. */
#include <linux/module.h>
#define DRM_PRINT_H_
struct drm_printer;
#define DRM_ERROR(...) pr_err(__VA_ARGS__)
#define drm_printf(printer, ...) ((void)(printer), no_printk(__VA_ARGS__))
#include PEER
