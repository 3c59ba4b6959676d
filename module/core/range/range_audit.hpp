// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The audit of a RangeAllocator: every node is looked at from every side.
//
//   - by offset, the ranges follow each other without a gap from 0 to the capacity; no two
//     free ones are neighbours; the sums are what is said of them
//   - each live range is in the bucket where it starts, and found there; nothing else is
//   - each free range is in the bin of its size, and in the one of its room at each declared
//     alignment; nothing else is; the bitmaps say which bins and buckets are not empty
//   - a node is in use, or on the stack of the unused, once
//
// O(metadata), no memory of its own. One caller at a time, nobody changes anything meanwhile.
#pragma once

#include "range_allocator.hpp"

namespace quarry {

template <Platform P, typename Steps>
class RangeAudit {
public:
    RangeAudit(const RangeAllocator<P, Steps>& ranges, Audit& audit) : r_(ranges), a_(audit) {}

    void run() {
        if (!r_.nodes_) return;
        if (!chain()) return;
        live_by_offset();
        free_by_size();
        unused();
    }

private:
    Offset bytes(u64 granule) const { return granule << r_.plan_.shift; }
    const RangeNode& node(u32 i) const { return r_.nodes_[i]; }
    bool numbered(u32 i) const { return i <= r_.plan_.nodes; }

    // False: the chain is torn, and nothing more can be said.
    bool chain() {
        u64 at = 0;
        u64 free_granules = 0;
        u64 seen = 0;
        u32 before = 0;
        for (u32 i = node(0).next; i != 0; i = node(i).next) {
            if (!numbered(i) || ++seen > r_.plan_.nodes) {
                a_.fault("the chain of ranges is torn", bytes(at));
                return false;
            }
            a_.expect(node(i).prev == before, "a range does not know the one before", bytes(at));
            a_.expect(node(i).start == at, "a gap or an overlap between ranges", bytes(at));
            a_.expect(node(i).size() != 0, "a range of no size", bytes(at));
            if (node(i).live()) {
                ++live_;
            } else {
                a_.expect(node(before).live(), "two free neighbours are not merged", bytes(at));
                ++free_;
                free_granules += node(i).size();
            }
            at += node(i).size();
            before = i;
        }
        a_.expect(node(0).prev == before, "the last range is not known", bytes(at));
        a_.expect(at == r_.plan_.capacity, "the ranges do not fill the capacity", bytes(at));
        a_.expect(live_ == r_.live_, "the count of live ranges is wrong", bytes(at));
        a_.expect(free_ == r_.free_ranges_, "the count of free ranges is wrong", bytes(at));
        a_.expect(free_granules == r_.free_granules_, "the sum of free bytes is wrong", bytes(at));
        a_.saw_objects(live_);
        return a_.clean();
    }

    void live_by_offset() {
        u64 seen = 0;
        const bool whole = r_.offsets_.for_each([&](u32 i, u64 bucket) {
            ++seen;
            if (!numbered(i) || !node(i).live() || !r_.offsets_.in_bucket(node(i).start, bucket))
                a_.fault("a bucket holds what is not its own", 0);
        });
        a_.expect(whole, "the buckets by offset are torn", 0);
        a_.expect(seen == live_, "the buckets hold not just the live ranges", 0);
        if (!a_.clean()) return;
        for (u32 i = node(0).next; i != 0; i = node(i).next)
            if (node(i).live() && r_.offsets_.find(node(i).start) != i)
                a_.fault("a live range is not found by its offset", bytes(node(i).start));
    }

    void free_by_size() {
        in_bins(r_.sizes_, free_, [&](u32 i) { return node(i).size(); });
        for (unsigned k = 0; k < r_.plan_.aligns; ++k) {
            const auto ranges = r_.aligned_ranges(k);
            u64 wanted = 0;
            for (u32 i = node(0).next; i != 0; i = node(i).next)
                if (!node(i).live() && ranges.size_of(i)) ++wanted;
            in_bins(r_.aligned_[k], wanted, [&](u32 i) { return ranges.size_of(i); });
        }
    }
    template <typename Index, typename Size>
    void in_bins(const Index& index, u64 wanted, Size&& size) {
        u64 seen = 0;
        const bool whole = index.for_each(wanted, [&](u32 i, u32 bin) {
            ++seen;
            if (!numbered(i) || node(i).live() || node(i).unused() || Index::bin_of(size(i)) != bin)
                a_.fault("a bin holds what is not its own", 0);
        });
        a_.expect(whole, "the bins by size are torn", 0);
        a_.expect(seen == wanted, "the bins hold not just the free ranges", 0);
    }

    void unused() {
        a_.expect(r_.unused_ + live_ + free_ == r_.plan_.nodes, "nodes are lost", 0);
        u64 marked = 0;
        for (u32 i = 1; i <= r_.plan_.nodes; ++i) marked += node(i).unused();
        a_.expect(marked == r_.unused_, "the count of unused nodes is wrong", 0);
        for (u32 i = 0; i < r_.unused_; ++i)
            if (!numbered(r_.stack_[i]) || !node(r_.stack_[i]).unused())
                a_.fault("a node in use is on the stack of the unused", 0);
    }

    const RangeAllocator<P, Steps>& r_;
    Audit& a_;
    u64 live_ = 0;
    u64 free_ = 0;
};

}  // namespace quarry
