// SPDX-License-Identifier: MIT
//
// InlinePlatform: the core's Platform for typed pools that a benchmark has inlined. A pin
// and a reader's section are two plain stores, as in a kernel, where they are
// preempt_disable; all else is the seam's hooks (host_os.cpp).
#pragma once

#include "../../module/core/platform/kernel.hpp"
#include "host_os.hpp"

namespace bench {

struct InlinePlatform : quarry::KernelPlatform {
    static unsigned pin() { return bench::pin(); }
    static void unpin() { bench::unpin(); }
    static void read_enter() { bench::read_enter(); }
    static void read_leave() { bench::unpin(); }
};
static_assert(quarry::Platform<InlinePlatform>);

}  // namespace bench
