// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The one translation unit of the core as the kernel builds it: the seam's entries,
// each instantiating its part of the headers. One object, so that objtool sees no
// template twice.
#include "seam/pool.cpp"
#include "seam/magazines.cpp"
#include "seam/heap.cpp"
#include "seam/range.cpp"
#include "seam/object.cpp"
#include "seam/reserve.cpp"
#include "seam/aside.cpp"
#include "seam/batches.cpp"
