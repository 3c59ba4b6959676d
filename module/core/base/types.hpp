// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The units of the core, as types that do not mix by accident. Inside a function
// of ten lines a plain integer is as good; at a border these are used.
#pragma once

// Before a large array on the stack that is written before it is read: kernels that have all of
// their variables zeroed leave it alone.
#if defined(__has_attribute) && __has_attribute(__uninitialized__)
#define QUARRY_NO_INIT __attribute__((__uninitialized__))
#else
#define QUARRY_NO_INIT
#endif

#include "../../include/quarry_seam.h"
#include "bits.hpp"

namespace quarry {

// Bytes from the start of a pool: the name of an object. The core never turns one
// into an address.
using Offset = u64;

// Absolute number of a page in the offset space of its pool: offset / page size.
enum class PageNumber : u64 {};
constexpr u64 value(PageNumber p) { return static_cast<u64>(p); }
constexpr PageNumber operator+(PageNumber p, u64 n) { return PageNumber{value(p) + n}; }
constexpr PageNumber operator-(PageNumber p, u64 n) { return PageNumber{value(p) - n}; }
constexpr u64 operator-(PageNumber a, PageNumber b) { return value(a) - value(b); }

// A block of 2^order contiguous pages, aligned to its size.
enum class Order : u8 {};
constexpr unsigned value(Order o) { return static_cast<unsigned>(o); }
constexpr u64 pages_of(Order o) { return u64{1} << value(o); }
inline constexpr Order kMaxOrder{20};
inline constexpr unsigned kOrders = 21;

enum class Zone : u8 { normal = QUARRY_CORE_NORMAL, lowmem = QUARRY_CORE_LOWMEM };
inline constexpr unsigned kZones = 2;

enum class Context : u8 { may_sleep = QUARRY_MAY_SLEEP, atomic = QUARRY_ATOMIC };

// Number of a slot inside its slab.
using SlotIndex = u32;

// A client's number inside its pool, 1..65532; 0 is nobody. Reused only after its reap.
using ClientIndex = u16;
inline constexpr ClientIndex kNobody = 0;
// The owner of what several clients hold (pool/shares.hpp).
inline constexpr ClientIndex kCommons = 0xfffe;
// The owner of what I/O still holds (pool/held_objects.hpp).
inline constexpr ClientIndex kKeeper = 0xfffd;

// The grain of all offsets, and the smallest slot. Bytes.
inline constexpr u64 kGrain = 8;

// Work that may be done under one lock hold, or between two breaths.
inline constexpr u32 kStepSlots = 32;
// The same of an audit, which looks at a thing from every side.
inline constexpr u32 kAuditStep = 8;

}  // namespace quarry
