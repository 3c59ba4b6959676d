// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// LiveBytes: the owner policy of drivers' caches and heaps (owner_policy.hpp). One byte
// says that a slot is in use, and no neighbour shares it: a free tests and clears it
// with plain moves, without a division and without a locked instruction.
//
//   slots of 64 bytes and more   one byte for each 64 bytes of the slab ("cell"): no two
//                                slots start in one cell. 1.6 % of the memory.
//   smaller slots                one byte a slot
//
// The byte holds 0x80 ("live") and seven bits of the grain at which the slot starts: so
// one comparison also tells whether an offset is the start of a slot.
//
//   byte          transition          made by                      order
//   0 -> mark     the slot is given   whoever took it out of a     relaxed: slots move between
//                 to a caller         magazine, or of a slab       CPUs through a depot's lock or
//   mark -> 0     the slot is freed   the free that found it live  a slab's remote word, never
//                                                                  by this byte
//   0 <-> 1       an audit looks for  the audit, alone with the    relaxed
//                 duplicates          heap ("quiet")
//
// A slot in a magazine, in a depot or on its way home is taken (slab.hpp) but not live.
// An allocation tests before it sets: a byte that is set already means that the same slot
// stands in two places; that entry is reported and dropped, and the next one is taken.
//
// The race that is left: two frees of one object at the same instant may both find it
// live, and the slot then stands in two magazines. It is never handed out twice: the second
// allocation finds the byte set and reports; or one copy comes home while the slot is
// live, or home already, and is dropped and reported when its slab is collected. A stale
// free after the slot was allocated again frees the new object: that cannot be seen.
//
// Costs: O(1); free_of_marks O(bits).
#pragma once

#include <atomic>

#include "slab.hpp"

namespace quarry {

using LiveByte = std::atomic<u8>;

inline constexpr u8 kLive = 0x80;
inline constexpr u8 kSeenByAudit = 1;
inline constexpr u32 kCellShift = 6;

// What the byte of a live slot at this offset holds.
constexpr u8 live_mark(Offset offset) { return static_cast<u8>(kLive | offset / kGrain); }

class LiveBytes {
public:
    using SlabT = Slab<LiveBytes>;
    // Slots are given to nobody in particular.
    struct Grantee {};
    // It is a caller's doubled free, not the allocator's fault.
    static constexpr bool kStrayIsCorruption = false;

    class Marks {
    public:
        static constexpr bool by_cell(const SizeClass& c) { return c.slot_bytes >= 64; }
        static constexpr u64 bytes(const SizeClass& c) {
            return by_cell(c) ? c.slab_bytes() >> kCellShift : round_up(c.slots, 8);
        }
        // The byte of the slot that holds the byte `distance` of the slab.
        static constexpr u32 index(const SizeClass& c, u32 distance) {
            return by_cell(c) ? distance >> kCellShift : c.divider.divide(distance);
        }
        LiveByte& at(u32 index) { return reinterpret_cast<LiveByte*>(this)[index]; }
    };

    static LiveByte& byte_of(SlabT& slab, Offset offset) {
        const u32 distance = static_cast<u32>(offset - slab.base());
        return slab.marks().at(Marks::index(slab.size_class(), distance));
    }
    static bool is_live(const LiveByte& byte) {
        return (byte.load(std::memory_order_relaxed) & kLive) != 0;
    }
    // False: the slot is live already, so this is a duplicate of it.
    static bool set(LiveByte& byte, Offset offset) {
        if (is_live(byte)) return false;
        byte.store(live_mark(offset), std::memory_order_relaxed);
        return true;
    }

    // ---- the policy, under the class lock ----

    bool admit(SlabT&, Grantee&, bool) { return true; }
    // What leaves the slab is not in use yet.
    SlabGrant grant(SlabT&, u32, u32 bits, Grantee&) { return {bits, 0, false}; }
    // A slot that comes home while it is live is a stray.
    u32 free_of_marks(SlabT& slab, u32 word, u32 bits) { return bits & ~live(slab, word, bits); }
    void forget(SlabT&) {}

    // The live ones among the slots `bits` of bitmap word `word`.
    static u32 live(SlabT& slab, u32 word, u32 bits) {
        u32 found = 0;
        for (u32 left = bits; left; left &= left - 1) {
            const Offset offset = slab.offset_of(word * 32 + lowest_bit(left));
            if (is_live(byte_of(slab, offset))) found |= left & -left;
        }
        return found;
    }
};

static_assert(sizeof(LiveByte) == 1 && LiveByte::is_always_lock_free);
static_assert(sizeof(Slab<LiveBytes>) == 64, "the marks begin one cache line behind the header");
static_assert(OwnerPolicy<LiveBytes>);

}  // namespace quarry
