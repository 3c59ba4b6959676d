// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Who owns the slots of a client pool's slab: four bits a slot into a dictionary of
// 15 clients, at 64 bytes a slot 1 % of the memory.
//
//   owner nibble   meaning                 who may change it, order
//   0              nobody, or somebody in  granter (class lock): 0 -> e   acq_rel
//                  the overflow table      transferrer (overflow lock): 0 -> e   acq_rel
//   e = 1..15      client[e - 1]           owner's free, the owner's reaper: e -> 0
//                                          owner's transfer: e -> f, or e -> 0 with the
//                                          overflow lock held              acq_rel, CAS
//
//   0 does not mean free: the bitmaps say that (slabs/slab.hpp).
//
//   client[e - 1]  0: entry unused. Written under the class lock, read by anyone. It
//                  goes back to 0 only by its client's reap (no call of that client
//                  runs any more) or with the slab: so whoever read nibble e and then
//                  its own name there may trust the CAS that follows. No ABA.
//
// Every entry in use is a link of its client's chain (chain.hpp).
#pragma once

#include <atomic>

#include "../slabs/size_class.hpp"

namespace quarry {

inline constexpr u32 kOwnerEntries = 15;

// 16 bits to the low bits of 16 nibbles, and back (any bit of a nibble counts).
constexpr u64 spread_to_nibbles(u32 bits) {
    u64 x = bits;
    x = (x | x << 24) & 0x000000ff000000ffull;
    x = (x | x << 12) & 0x000f000f000f000full;
    x = (x | x << 6) & 0x0303030303030303ull;
    return (x | x << 3) & 0x1111111111111111ull;
}
constexpr u32 gather_nibbles(u64 x) {
    x |= x >> 2;
    x |= x >> 1;
    x &= 0x1111111111111111ull;
    x = (x | x >> 3) & 0x0303030303030303ull;
    x = (x | x >> 6) & 0x000f000f000f000full;
    x = (x | x >> 12) & 0x000000ff000000ffull;
    return static_cast<u32>((x | x >> 24) & 0xffff);
}
static_assert(gather_nibbles(spread_to_nibbles(0xa5c3) * 15) == 0xa5c3);
static_assert(gather_nibbles(0x8000000000000020ull) == 0x8002);

class OwnerMarks {
public:
    // The slab's only client since it was made.
    static constexpr ClientIndex kMixed = 0xffff;

    static constexpr u64 bytes(const SizeClass& c) {
        return sizeof(OwnerMarks) + u64{(c.slots + 31) / 32} * 16;
    }

    // ---- dictionary ----

    ClientIndex client(u32 e) const { return client_[e - 1].load(std::memory_order_relaxed); }

    // 1..15, or 0 when the client has no entry here. `index` 0 finds an unused one.
    u32 entry_of(ClientIndex index) const {
        for (u32 e = 1; e <= kOwnerEntries; ++e)
            if (client(e) == index) return e;
        return 0;
    }
    void set_client(u32 e, ClientIndex index) {
        client_[e - 1].store(index, std::memory_order_relaxed);
    }
    u32& next(u32 e) { return next_[e - 1]; }
    u32& prev(u32 e) { return prev_[e - 1]; }

    // Notes a grant to `index`; true when the slot's last owner may be another one.
    bool note_client(ClientIndex index) {
        if (only_ == kNobody) only_ = index;
        if (only_ != index) only_ = kMixed;
        return only_ == kMixed;
    }

    // The number of this client goes to somebody else: what it wrote is foreign to all.
    void outlive(ClientIndex index) {
        if (only_ == index) only_ = kMixed;
    }

    // ---- nibbles ----

    u32 owner(SlotIndex slot) const {
        return nibble(words()[slot / 16].load(std::memory_order_acquire), slot);
    }
    // Slots of the bitmap word w, among `bits`, that have an owner here.
    u32 owned(u32 w, u32 bits) const {
        return bits & (gather_nibbles(words()[2 * w].load(std::memory_order_acquire)) |
                       gather_nibbles(words()[2 * w + 1].load(std::memory_order_acquire)) << 16);
    }
    // Class lock: entry e owns the slots `bits` of bitmap word w, which had no owner.
    void grant(u32 w, u32 bits, u32 e) {
        if (bits == ~u32{0}) {
            const u64 all = u64{e} * 0x1111111111111111ull;
            words()[2 * w].fetch_or(all, std::memory_order_acq_rel);
            words()[2 * w + 1].fetch_or(all, std::memory_order_acq_rel);
            return;
        }
        if (bits & 0xffff)
            words()[2 * w].fetch_or(spread_to_nibbles(bits & 0xffff) * e,
                                    std::memory_order_acq_rel);
        if (bits >> 16)
            words()[2 * w + 1].fetch_or(spread_to_nibbles(bits >> 16) * e,
                                        std::memory_order_acq_rel);
    }
    // One slot from owner `from` to `to` (0: nobody); false when it is not from's any more.
    bool change(SlotIndex slot, u32 from, u32 to) {
        std::atomic<u64>& word = words()[slot / 16];
        u64 seen = word.load(std::memory_order_acquire);
        const unsigned shift = slot % 16 * 4;
        while (nibble(seen, slot) == from) {
            const u64 wanted = seen ^ (u64{from ^ to} << shift);
            if (word.compare_exchange_weak(seen, wanted, std::memory_order_acq_rel,
                                           std::memory_order_acquire))
                return true;
        }
        return false;
    }
    // These of the 16 slots of owner word k from owner e to f (0: nobody), all or none: false when
    // one is not e's.
    bool change_all(u32 k, u32 slots, u32 e, u32 f) {
        std::atomic<u64>& word = words()[k];
        const u64 low = spread_to_nibbles(slots);
        const u64 mask = low * 15;
        u64 seen = word.load(std::memory_order_acquire);
        while ((seen & mask) == low * e)
            if (word.compare_exchange_weak(seen, (seen & ~mask) | low * f, std::memory_order_acq_rel,
                                           std::memory_order_acquire))
                return true;
        return false;
    }
    // Takes everything that entry e owns among the 32 slots of bitmap word w.
    u32 strip(u32 w, u32 e) {
        return strip_some(2 * w, 0xffff, e) | strip_some(2 * w + 1, 0xffff, e) << 16;
    }
    // What entry e owns among these of the 16 slots of owner word k.
    u32 strip_some(u32 k, u32 slots, u32 e) {
        std::atomic<u64>& word = words()[k];
        u64 seen = word.load(std::memory_order_acquire);
        for (;;) {
            const u64 pattern = u64{e} * 0x1111111111111111ull;
            const u32 mine = ~gather_nibbles(seen ^ pattern) & slots;
            if (!mine) return 0;
            const u64 wanted = seen & ~(spread_to_nibbles(mine) * 15);
            if (word.compare_exchange_weak(seen, wanted, std::memory_order_acq_rel,
                                           std::memory_order_acquire))
                return mine;
        }
    }

private:
    static u32 nibble(u64 word, SlotIndex slot) {
        return static_cast<u32>(word >> slot % 16 * 4) & 15;
    }
    std::atomic<u64>* words() { return reinterpret_cast<std::atomic<u64>*>(this + 1); }
    const std::atomic<u64>* words() const {
        return reinterpret_cast<const std::atomic<u64>*>(this + 1);
    }

    std::atomic<ClientIndex> client_[kOwnerEntries];
    ClientIndex only_;
    u32 next_[kOwnerEntries];
    u32 prev_[kOwnerEntries];
};

static_assert(sizeof(OwnerMarks) == 152);

}  // namespace quarry
