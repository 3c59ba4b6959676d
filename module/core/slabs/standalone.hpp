// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// SlabSet: slabs by size class for a program that brings its own pages: no buddy, no
// magazines, and nothing is ever allocated. What is missing is said, and given by the caller.
//
//   SlabSet<P, 4> set(PageNumber{0}, pages, map);    // map: SlabSet::map_bytes(pages), zeroed
//   auto got = set.alloc(100);
//   if (got.needs_slab())                             // got.pages pages, got.meta_bytes zeroed
//       if (ok(set.add_slab(got.size_class, my_pages, my_meta))) got = set.alloc(100);
//   if (const auto freed = set.free(got.offset); freed && freed->slab_is_empty) {
//       ...                                           // freed->first, pages, meta: take them
//   }
//
// Each CPU below Cpus has its own slabs. An allocation is served by those of the current CPU;
// a free goes to the CPU that owns the slab: under its own lock when that is the current one,
// else by one OR into the slab's remote word, which the owner merges when it next runs out
// (slab.hpp has the state table; the same slab serves the heap). A slab is empty only when its
// bitmap says so, bit by bit, and only one free is answered so: a live slab is never handed
// back, however often an object of it is freed. An emptied slab is handed back unless it is the
// only one of its class on its CPU that has free slots; the last ones, and those that other
// CPUs emptied, by take_empty.
//
// Metadata (law 1) is out of line: a map of one word a page, and a block a slab, 64-byte
// aligned. Who is handed an empty slab retires its block (P::meta_retire), since a late free
// on another CPU may still look at it.
//
// Context: any. Costs: O(1); alloc O(words of a slab) and what came home; take_empty O(slabs of
// the class that have room). One locked instruction a free. (Bonwick 1994.)
#pragma once

#include "live_bytes.hpp"
#include "../platform/platform.hpp"

namespace quarry {

template <Platform P, u32 Cpus>
class SlabSet {
    static_assert(Cpus >= 1 && Cpus <= 64, "a page's word has six bits for the owner");

public:
    using SlabT = Slab<LiveBytes>;

    struct Allocation {
        Offset offset = 0;   // an object
        u32 size_class = 0;  // or what a slab is missing of,
        u64 pages = 0;       // how many pages it takes (0: none is missing)
        u64 meta_bytes = 0;
        Error why = Error::none;

        bool needs_slab() const { return pages != 0; }
    };
    struct Freed {
        bool slab_is_empty = false;  // then it is no more: its pages and its block are the caller's
        PageNumber first{0};
        u64 pages = 0;
        void* meta = nullptr;
        u64 meta_bytes = 0;
    };

    static constexpr u64 map_bytes(u64 pages) { return pages * sizeof(std::atomic<u64>); }
    static u64 slab_meta_bytes(u32 c) { return SlabT::meta_bytes(kSizeClasses[c]); }

    // Serves offsets of the pages [first, first + pages). `map` outlives this.
    SlabSet(PageNumber first, u64 pages, void* map)
        : first_(value(first)), pages_(pages), map_(static_cast<std::atomic<u64>*>(map)) {}
    SlabSet(const SlabSet&) = delete;
    SlabSet& operator=(const SlabSet&) = delete;

    // From the current CPU's slabs. Errors (why): invalid, too_large (above kMaxSlot).
    Allocation alloc(u64 size, u64 align = kGrain) {
        if (size == 0 || !is_power_of_two(align)) return {.why = Error::invalid};
        if (size > kMaxSlot || align > kMaxSlot) return {.why = Error::too_large};
        const u32 c = class_of(size, align);
        PinGuard<P> pin;
        Bin& bin = bin_of(pin.cpu(), c);
        Guard guard(bin.lock);
        for (SlabT* slab = bin.partial.front(); slab || (slab = collect(bin));
             slab = bin.partial.front()) {
            u32 word = 0;
            const u32 bit = slab->find_free(1, word);
            slab->take(word, bit);
            if (slab->free() == 0) move(bin, *slab, SlabState::full);
            const Offset offset = slab->offset_of(word * 32 + lowest_bit(bit));
            if (LiveBytes::set(LiveBytes::byte_of(*slab, offset), offset))
                return {.offset = offset};
        }
        return {.size_class = c, .pages = pages_of(kSizeClasses[c].order),
                .meta_bytes = slab_meta_bytes(c)};
    }

    // A slab for the current CPU: pages aligned to their number, and zeroed metadata. Errors:
    // invalid, out_of_range, misaligned, overlap (with another slab); nothing has changed then.
    Error add_slab(u32 c, PageNumber first, void* meta) {
        if (c >= kClasses || !meta) return Error::invalid;
        const u64 pages = pages_of(kSizeClasses[c].order);
        const u64 index = value(first) - first_;
        if (index >= pages_ || pages > pages_ - index) return Error::out_of_range;
        if (value(first) % pages || reinterpret_cast<u64>(meta) % 64) return Error::misaligned;
        PinGuard<P> pin;
        const u32 cpu = pin.cpu() % Cpus;
        auto* slab = new (meta) SlabT(value(first) * kPageBytes, static_cast<u8>(c),
                                      kSizeClasses[c], slab_meta_bytes(c));
        const u64 word = reinterpret_cast<u64>(slab) | cpu;
        for (u64 i = 0; i < pages; ++i) {
            u64 none = 0;
            if (map_[index + i].compare_exchange_strong(none, word, std::memory_order_acq_rel))
                continue;
            while (i-- > 0) map_[index + i].store(0, std::memory_order_release);
            return Error::overlap;
        }
        Bin& bin = bin_of(cpu, c);
        Guard guard(bin.lock);
        slab->set_state(SlabState::partial);
        bin.partial.push_front(*slab);
        ++bin.with_room;
        return Error::none;
    }

    // Errors: misaligned, out_of_range, no_region (no slab's page), not_object, already_free.
    Result<Freed> free(Offset offset) { return free_if(offset, 0); }
    // Errors: wrong_size when no allocation of `size` at alignment 8 gives this object; those of
    // free. Nothing is freed then.
    Result<Freed> free_sized(Offset offset, u64 size) {
        return size ? free_if(offset, size) : Error::wrong_size;
    }

    // An empty slab of the current CPU, after its remote frees are merged; slab_is_empty is
    // false when there is none.
    Freed take_empty(u32 c) {
        PinGuard<P> pin;
        Bin& bin = bin_of(pin.cpu(), c);
        Guard guard(bin.lock);
        (void)collect(bin);
        for (SlabT* slab = bin.partial.front(); slab; slab = bin.partial.after(*slab))
            if (slab->free() == slab->slots() && slab->claim_pending()) return hand_back(bin, *slab);
        return {};
    }

    // The CPU whose slab holds this offset. Errors: as free.
    Result<u32> owner(Offset offset) const {
        ReadGuard<P> reader;
        u64 word = 0;
        if (const Error e = word_of(offset, word); !ok(e)) return e;
        return static_cast<u32>(word % 64);
    }

private:
    using SlabList = List<SlabT, &SlabT::list>;
    struct alignas(64) Bin {
        typename P::Lock lock{QUARRY_LOCK_CLASS};
        SlabList partial;  // those with a free slot
        SlabList full;
        u32 with_room = 0;  // how many are partial
        WaitFreeQueue homecoming;
    };

    Bin& bin_of(u32 cpu, u32 c) { return bins_[cpu % Cpus][c]; }

    Error word_of(Offset offset, u64& word) const {
        if (offset % kGrain) return Error::misaligned;
        const u64 index = offset / kPageBytes - first_;
        if (index >= pages_) return Error::out_of_range;
        word = map_[index].load(std::memory_order_acquire);
        return word ? Error::none : Error::no_region;
    }

    Result<Freed> free_if(Offset offset, u64 size) {
        PinGuard<P> pin;
        u64 word = 0;
        if (const Error e = word_of(offset, word); !ok(e)) return e;
        SlabT& slab = *reinterpret_cast<SlabT*>(word & ~u64{63});
        const u32 c = slab.class_index();
        const SlotIndex slot = slab.slot_at(offset);
        if (slot == slab.slots()) return Error::not_object;
        LiveByte& live = LiveBytes::byte_of(slab, offset);
        if (size && (size > kMaxSlot || class_of(size) != c)) return Error::wrong_size;
        u8 mark = live_mark(offset);  // one of several racing frees wins
        if (!live.compare_exchange_strong(mark, free_mark(offset), std::memory_order_acq_rel))
            return Error::already_free;
        Bin& bin = bin_of(word % 64, c);
        if (pin.cpu() % Cpus != word % 64) {
            (void)slab.come_home(slot / 32, u32{1} << slot % 32);
            if (slab.claim_pending()) bin.homecoming.push(slab.queue);
            return Freed{};
        }
        Guard guard(bin.lock);
        slab.put_back(slot / 32, u32{1} << slot % 32);
        if (slab.state() == SlabState::full) move(bin, slab, SlabState::partial);
        if (slab.free() == slab.slots() && bin.with_room > 1 && slab.claim_pending())
            return hand_back(bin, slab);
        return Freed{};
    }

    void move(Bin& bin, SlabT& slab, SlabState to) {
        SlabList::remove(slab);
        bin.with_room += to == SlabState::partial ? 1 : ~u32{0};
        (to == SlabState::partial ? bin.partial : bin.full).push_front(slab);
        slab.set_state(to);
    }

    // Merges all that came home; a slab with a free slot, or null. Under the lock.
    SlabT* collect(Bin& bin) {
        while (QueueNode* node = bin.homecoming.pop()) {
            SlabT& slab = *SlabT::from_queue(node);
            slab.clear_pending();
            for (u32 w = 0; w < slab.words(); ++w) {
                const u32 bits = slab.remote()[w].exchange(0, std::memory_order_seq_cst);
                slab.put_back(w, bits & slab.taken()[w]);
            }
            if (slab.state() == SlabState::full && slab.free()) move(bin, slab, SlabState::partial);
        }
        return bin.partial.front();
    }

    // Empty, and its pending flag is ours: nobody queues it any more. Under the lock.
    Freed hand_back(Bin& bin, SlabT& slab) {
        move(bin, slab, SlabState::full);
        SlabList::remove(slab);
        slab.set_state(SlabState::dead);
        const PageNumber first{slab.base() / kPageBytes};
        const u64 pages = pages_of(slab.size_class().order);
        for (u64 i = 0; i < pages; ++i)
            map_[value(first) - first_ + i].store(0, std::memory_order_release);
        return {true, first, pages, &slab, slab.block_bytes()};
    }

    u64 first_;
    u64 pages_;
    std::atomic<u64>* map_;
    Bin bins_[Cpus][kClasses];
};

}  // namespace quarry
