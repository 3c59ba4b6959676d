// SPDX-License-Identifier: MIT
/* The kernel's gpu_buddy, as it is in the sources of this kernel. */
#include <linux/module.h>
#undef MODULE_DESCRIPTION
#undef MODULE_LICENSE
#undef module_init
#undef module_exit
#define MODULE_DESCRIPTION(text)
#define MODULE_LICENSE(text)
#define module_init(fn)			\
	int peer_buddy_init(void);	\
	int __ref peer_buddy_init(void)	\
	{				\
		return fn();		\
	}
#define module_exit(fn)			\
	void peer_buddy_exit(void);	\
	void peer_buddy_exit(void)	\
	{				\
		fn();			\
	}
#include PEER
