// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// LiveBytes: the owner policy of drivers' caches and heaps (owner_policy.hpp). One byte
// says that a slot is in use, and no neighbour shares it: a free tests and clears it
// with plain moves, without a division and without a locked instruction.
//
// A slab has one byte for each "cell" of its memory, whose size is the largest power of two
// up to 64 that fits into a slot: so no two slots start in one cell, and the byte of an
// offset is found by a shift. From 64 bytes up that is 1.6 % of the memory; below, half a
// byte to a byte for each 8 bytes of a slot.
//
// The byte of a slot holds the low byte of the slot's offset, whose three low bits are 0, and
// 129 more when it is live. Two offsets in one cell differ in their low byte, and none in it is
// 129 less than another (modulo 256): so one comparison also tells whether any offset,
// misaligned ones included, is the start of a live slot. A free slot keeps its byte: an
// allocation adds to what it has tested.
//
//   byte           transition         made by                      order
//   0 -> free      the slab is made   its maker                    before it is published
//   any -> mark,   the slot leaves    the refill that takes it     relaxed: slots move between
//   not live       its slab                                        CPUs through a depot's lock or
//   mark -> live   it is given to     whoever took it out of a     a slab's remote word, never
//                  a caller           magazine, or of a slab       by this byte
//   live -> mark   it is freed        the free that found it live
//   mark <-> mark  an audit looks     the audit, alone with the    relaxed
//   + seen         for duplicates     heap ("quiet")
//
// A slot in a magazine, in a depot or on its way home is taken (slab.hpp) but not live.
// An allocation tests before it sets: a byte that is set already means that the same slot
// stands in two places; that entry is reported and dropped, and the next one is taken.
//
// The race that is left: two frees of one object at the same instant may both find it
// live, and the slot then stands in two magazines. While its slab lives it is not handed out
// twice: the second allocation finds the byte set and reports; or one copy comes home while
// the slot is live, or home already, and is dropped and reported when its slab is collected.
// But the first copy may come home as the last of its slab, which may then go while the other
// copy still stands in a magazine, and names what is no slot any more: nothing sees that.
// A stale free after the slot was allocated again frees the new object: nor that.
//
// PageWord: what each page of a slab holds beside its descriptor (buddy.hpp), so that a free
// finds class and live byte by one load: 7 bits of class, 57 of address. It is the address
// that the byte of offset 0 would have if the cells went on down to there.
//
// Costs: O(1); free_of_marks O(bits).
#pragma once

#include <array>
#include <atomic>

#include "slab.hpp"

namespace quarry {

using LiveByte = std::atomic<u8>;

inline constexpr u8 kLive = 1;  // the bit that tells
inline constexpr u8 kLiveStep = 129;
inline constexpr u8 kSeenByAudit = 2;

// What the byte of a slot at this offset holds, live or free.
constexpr u8 live_mark(Offset offset) { return static_cast<u8>(offset + kLiveStep); }
constexpr u8 free_mark(Offset offset) { return static_cast<u8>(offset); }

// A cell is 2^cell_shift bytes.
constexpr unsigned cell_shift(u32 slot_bytes) {
    return slot_bytes >= 64 ? 6 : highest_bit(slot_bytes);
}

// Offsets of a heap are below this: then an address less a number of cells fits 57 bits.
inline constexpr u64 kMaxWordOffset = u64{1} << 52;

// Place of a class in tables that have 0 for "none".
constexpr u32 place_of(u32 c) { return c + 1; }
inline constexpr u32 kPlaces = kClasses + 1;
inline constexpr std::array<u8, 128> kCellShifts = [] {
    std::array<u8, 128> table{};
    for (u32 c = 0; c < kClasses; ++c)
        table[place_of(c)] = static_cast<u8>(cell_shift(kSizeClasses[c].slot_bytes));
    return table;
}();

class PageWord {
public:
    // `first` is the byte of the cell that starts at `base`.
    static u64 make(u64 place, const void* first, Offset base) {
        const u64 zero = reinterpret_cast<u64>(first) - (base >> kCellShifts[place]);
        return zero << 7 | place;
    }
    // 0: no slab of a class that has magazines.
    static u64 place(u64 word) { return word & 127; }
    static LiveByte& byte(u64 word, u64 place, Offset offset) {
        return byte_of_cell(word, offset >> kCellShifts[place]);
    }
    static LiveByte& byte_of_cell(u64 word, u64 cell) {
        const u64 zero = static_cast<u64>(static_cast<int64_t>(word) >> 7);
        return *reinterpret_cast<LiveByte*>(zero + cell);
    }
};

class LiveBytes {
public:
    using SlabT = Slab<LiveBytes>;
    // Slots are given to nobody in particular.
    struct Grantee {};
    // It is a caller's doubled free, not the allocator's fault.
    static constexpr bool kStrayIsCorruption = false;

    class Marks {
    public:
        static constexpr u64 bytes(const SizeClass& c) {
            return c.slab_bytes() >> cell_shift(c.slot_bytes);
        }
        // The byte of the cell that holds the byte `distance` of the slab.
        static constexpr u32 index(const SizeClass& c, u32 distance) {
            return distance >> cell_shift(c.slot_bytes);
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
    static void clear(LiveByte& byte, Offset offset) {
        byte.store(free_mark(offset), std::memory_order_relaxed);
    }
    // The same by one of several who found it live. False: another was first.
    static bool release(LiveByte& byte, Offset offset) {
        u8 live = live_mark(offset);
        return byte.compare_exchange_strong(live, free_mark(offset), std::memory_order_relaxed);
    }
    // The slot is about to enter a magazine. What is live stays so: a duplicate.
    static void prepare(LiveByte& byte, Offset offset) {
        if (!is_live(byte)) clear(byte, offset);
    }

    // ---- the policy, under the class lock ----

    bool admit(SlabT&, Grantee&, bool) { return true; }
    bool is_spread(const Grantee&, u32) { return false; }
    // What leaves the slab is not in use yet.
    SlabGrant grant(SlabT&, u32, u32 bits, Grantee&) { return {bits, 0, false}; }
    // A slot that comes home while it is live is a stray.
    u32 free_of_marks(SlabT& slab, u32 word, u32 bits) { return bits & ~live(slab, word, bits); }
    void forget(SlabT&) {}
    // A slab is new: each byte holds what a free slot at its cell's start would, so that no
    // offset in a cell without a slot passes for a live one.
    static void begin(SlabT& slab) {
        const SizeClass& c = slab.size_class();
        const u32 bytes = static_cast<u32>(Marks::bytes(c));
        for (u32 i = 0; i < bytes; ++i)
            slab.marks().at(i).store(free_mark(u64{i} << cell_shift(c.slot_bytes)),
                                     std::memory_order_relaxed);
    }
    // Classes behind the table (low memory) have no magazines, and no word.
    static u64 page_word(SlabT& slab) {
        const u32 c = slab.class_index();
        return c < kClasses ? PageWord::make(place_of(c), &slab.marks(), slab.base()) : 0;
    }

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
static_assert(kClasses < 127, "a class and none fit seven bits");
static_assert(sizeof(Slab<LiveBytes>) == 64, "the marks begin one cache line behind the header");
static_assert(OwnerPolicy<LiveBytes>);

}  // namespace quarry
