// SPDX-License-Identifier: MIT
/* The kernel's gen_pool, as it is in the sources of this kernel. */
#include PEER
