// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The full structural audit of a heap: its buddy and page cache, every slab and page
// word, every live byte, every entry of every magazine and depot, and the sums.
//
// In steps; locks and CPU released between. Beside running calls it reports only what can
// never be; when nothing else runs (`quiet`: the caller knows) it also looks for slots
// that stand in two places, and compares what it counted: slots that are out are live,
// cached or on their way home. Duplicates are found by a bit of the live byte that no
// call uses (live_bytes.hpp), so no memory is needed.
//
// Context: task. O(pages + slots + cached entries).
#pragma once

#include "../slabs/slab_audit.hpp"
#include "heap.hpp"

namespace quarry {

template <Platform P>
class HeapAudit {
public:
    HeapAudit(Heap<P>& heap, Audit& audit) : heap_(heap), audit_(audit) {}

    void run(bool quiet) {
        const BuddyCensus census = heap_.pages().verify(audit_);
        u32 seen[kHeapClasses] = {};
        SlabAudit<P, LiveBytes> slabs(heap_.buddy(), heap_.slabs(), audit_);
        slabs.run(
            seen, [&](SlabT& slab) { words(slab); },
            [&](SlabT& slab, u32 w, u32 taken, u32 remote) {
                if (quiet) forget(slab, w);
                word(slab, w, taken, remote);
            });
        unsigned missed = heap_.caches().for_each([&](u32 c, const Entry& e) { entry(c, e, quiet); });
        audit_.saw_objects(live_total_ + census.runs);
        if (!quiet) return;
        missed += heap_.caches().for_each([](u32, const Entry& e) { forget(e); });
        // What a CPU out of reach holds is in no sum.
        if (missed) return;
        audit_.expect(pages_with_words() == named_, "a page has a word that is no slab's", 0);
        for (u32 c = 0; c < kHeapClasses; ++c) {
            ReadGuard<P> reader;
            audit_.expect(out_[c] == live_[c] + coming_[c] + cached_[c],
                          "slots are out that are nowhere", c);
            audit_.expect(cached_[c] == heap_.caches().cached(c), "a class's cached slots are miscounted",
                          c);
            audit_.expect(seen[c] == heap_.slabs().slab_count(c), "a class's slabs are miscounted",
                          c);
        }
    }

private:
    using SlabT = typename Heap<P>::SlabT;

    // Each page of a slab holds its word. Under the class lock.
    void words(SlabT& slab) {
        const u64 first = slab.base() / kPageBytes;
        const u64 pages = pages_of(slab.size_class().order);
        const u64 word = LiveBytes::page_word(slab);
        const Region* region = heap_.buddy().region_of(PageNumber{first});
        for (u64 i = 0; region && i < pages; ++i)
            audit_.expect(region->words->at(first + i - region->first)
                                  .load(std::memory_order_relaxed) == word,
                          "a page of a slab has another's word", slab.base());
        if (word) named_ += pages;
    }
    u64 pages_with_words() {
        u64 found = 0;
        heap_.buddy().for_each_region([&](const auto& info) {
            ReadGuard<P> reader;
            const Region* region = heap_.buddy().region_of(PageNumber{info.first});
            for (u64 i = 0; region && i < region->pages; ++i)
                found += region->words->at(i).load(std::memory_order_relaxed) != 0;
        });
        return found;
    }

    // A live slot is out, and not on its way home; its byte says where it starts.
    void word(SlabT& slab, u32 w, u32 taken, u32 remote) {
        const u32 c = slab.class_index();
        u32 live = 0;
        for (u32 bits = slab.valid(w); bits; bits &= bits - 1) {
            const Offset offset = slab.offset_of(w * 32 + lowest_bit(bits));
            const u8 byte = LiveBytes::byte_of(slab, offset).load(std::memory_order_relaxed);
            if (!(byte & kLive)) continue;
            live |= bits & -bits;
            audit_.expect(byte == live_mark(offset), "a live byte names no slot", offset);
        }
        audit_.expect((live & ~taken) == 0, "a slot is live that is not out", slab.base());
        audit_.expect((live & remote) == 0, "a slot comes home that is live", slab.base());
        out_[c] += popcount(taken);
        live_[c] += popcount(live);
        coming_[c] += popcount(taken & remote);
        live_total_ += popcount(live);
    }

    // An entry names a slot of its class that is out and not live, with its own live byte.
    void entry(u32 c, const Entry& e, bool quiet) {
        ReadGuard<P> reader;
        ++cached_[c];
        const PageDesc* desc = heap_.buddy().find(PageNumber{e.offset / kPageBytes});
        const u64 word = desc ? desc->word() : 0;
        if (!desc || PageDesc::state(word) != PageState::slab)
            return audit_.fault("a magazine holds what is no slot", e.offset);
        SlabT& slab = *PageDesc::slab<SlabT>(word);
        const SlotIndex slot = slab.slot_at(e.offset);
        if (slab.class_index() != c || slot == slab.slots())
            return audit_.fault("a magazine holds what is no slot", e.offset);
        if (e.live != &LiveBytes::byte_of(slab, e.offset))
            return audit_.fault("a magazine's entry names another's live byte", e.offset);
        const u8 byte = e.live->load(std::memory_order_relaxed);
        audit_.expect(!(byte & kLive), "a magazine holds a live slot", e.offset);
        if (!quiet || byte & kLive) return;
        const u8 seen = free_mark(e.offset) + kSeenByAudit;
        audit_.expect(byte == seen || byte == free_mark(e.offset),
                      "a cached slot's live byte names no slot", e.offset);
        audit_.expect((slab.taken()[slot / 32] >> slot % 32 & 1) != 0,
                      "a magazine holds a slot that is not out", e.offset);
        audit_.expect(byte != seen, "a slot stands in two magazines", e.offset);
        e.live->store(seen, std::memory_order_relaxed);
    }
    // What an audit has left that could reach a CPU the first time, and not the second.
    static void forget(SlabT& slab, u32 w) {
        for (u32 bits = slab.valid(w); bits; bits &= bits - 1) {
            const Offset offset = slab.offset_of(w * 32 + lowest_bit(bits));
            forget({offset, &LiveBytes::byte_of(slab, offset)});
        }
    }
    static void forget(const Entry& e) {
        if (e.live->load(std::memory_order_relaxed) == free_mark(e.offset) + kSeenByAudit)
            LiveBytes::clear(*e.live, e.offset);
    }

    Heap<P>& heap_;
    Audit& audit_;
    u64 live_total_ = 0;
    u64 named_ = 0;  // pages of slabs that have a word
    u64 out_[kHeapClasses] = {};
    u64 live_[kHeapClasses] = {};
    u64 coming_[kHeapClasses] = {};
    u64 cached_[kClasses + kClasses] = {};
};

}  // namespace quarry
