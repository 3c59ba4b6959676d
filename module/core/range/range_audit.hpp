// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The audit of a RangeAllocator: every node is looked at from every side.
//
//   - by offset, the ranges follow each other without a gap from 0 to the capacity; no two
//     free ones are neighbours; the sums are what is said of them
//   - each range's node is at home in its bucket or in the overflow's tree, and found there;
//     nothing else is; the summary says which buckets are not empty
//   - each free range is in the bin of its size, and in the one of its room at each declared
//     alignment; nothing else is; the bitmaps say which bins are not empty
//   - a number of a free range is in use, or among the unused
//
// O(metadata), no memory of its own. One caller at a time, nobody changes anything meanwhile.
#pragma once

#include "range_allocator.hpp"

namespace quarry {

template <Platform P, typename Word, typename Steps>
class RangeAudit {
public:
    RangeAudit(const RangeAllocator<P, Word, Steps>& ranges, Audit& audit) : r_(ranges), a_(audit) {}

    void run() {
        if (!r_.records_) return;
        if (!chain()) return;
        by_offset();
        free_by_size();
        numbers();
    }

private:
    Offset bytes(u64 granule) const { return granule << r_.plan_.shift; }
    const RangeNode<Word>& node(u32 i) const { return r_.nodes_[i]; }
    bool is_node(u32 i) const { return i >= 4 && i < r_.nodes_.count(); }
    bool is_free(u32 f) const { return f >= 1 && f < r_.plan_.frees(); }

    // False: the chain is torn, and nothing more can be said.
    bool chain() {
        u64 at = 0;
        u64 free_granules = 0;
        u64 seen = 0;
        u32 before = 0;
        for (u32 i = node(0).next; i != 0; i = node(i).next) {
            if (!is_node(i) || ++seen > 2 * u64{r_.plan_.max_live} + 1) {
                a_.fault("the chain of ranges is torn", bytes(at));
                return false;
            }
            a_.expect(node(i).prev == before, "a range does not know the one before", bytes(at));
            a_.expect(node(i).start == at, "a gap or an overlap between ranges", bytes(at));
            if (node(i).live()) {
                ++live_;
            } else {
                const u32 f = node(i).free_range();
                a_.expect(node(before).live(), "two free neighbours are not merged", bytes(at));
                if (!is_free(f) || r_.frees_[f].node != i) {
                    a_.fault("a free range has another's number", bytes(at));
                    return false;
                }
                ++free_;
                free_granules += r_.frees_[f].size;
            }
            a_.expect(r_.size_of_node(i) != 0, "a range of no size", bytes(at));
            at += r_.size_of_node(i);
            before = i;
        }
        a_.expect(node(0).prev == before, "the last range is not known", bytes(at));
        a_.expect(at == r_.plan_.capacity, "the ranges do not fill the capacity", bytes(at));
        a_.expect(live_ == r_.live_, "the count of live ranges is wrong", bytes(at));
        a_.expect(free_ == r_.free_ranges(), "the count of free ranges is wrong", bytes(at));
        a_.expect(free_granules == r_.free_granules_, "the sum of free bytes is wrong", bytes(at));
        a_.saw_objects(live_);
        return a_.clean();
    }

    void by_offset() {
        u64 seen = 0;
        const bool whole = r_.nodes_.for_each([&](u32) { ++seen; });
        a_.expect(whole, "the table of nodes is torn", 0);
        a_.expect(seen == live_ + free_, "the table of nodes holds not just the ranges", 0);
        if (!a_.clean()) return;
        for (u32 i = node(0).next; i != 0; i = node(i).next)
            if (r_.nodes_.find(node(i).start) != i)
                a_.fault("a range is not found by its offset", bytes(node(i).start));
    }

    void free_by_size() {
        in_bins(r_.sizes_, free_, [&](u32 f) -> u64 { return r_.frees_[f].size; });
        for (unsigned k = 0; k < r_.plan_.aligns; ++k) {
            const auto ranges = r_.aligned(k);
            u64 wanted = 0;
            for (u32 i = node(0).next; i != 0; i = node(i).next)
                if (!node(i).live() && ranges.size_of(node(i).free_range())) ++wanted;
            in_bins(r_.aligned_[k], wanted, [&](u32 f) { return ranges.size_of(f); });
        }
    }
    template <typename Index, typename Size>
    void in_bins(const Index& index, u64 wanted, Size&& size) {
        u64 seen = 0;
        const bool whole = index.for_each(wanted, [&](u32 f, u32 bin) {
            ++seen;
            if (!is_free(f) || !is_node(r_.frees_[f].node) || node(r_.frees_[f].node).live() ||
                node(r_.frees_[f].node).free_range() != f || Index::bin_of(size(f)) != bin)
                a_.fault("a bin holds what is not its own", 0);
        });
        a_.expect(whole, "the bins by size are torn", 0);
        a_.expect(seen == wanted, "the bins hold not just the free ranges", 0);
    }

    void numbers() {
        for (u32 k = 1; k <= r_.unused_; ++k) {
            const u32 f = r_.stack_[k];
            if (!is_free(f) || in_use(f)) a_.fault("a number in use is among the unused", 0);
        }
    }
    bool in_use(u32 f) const {
        const u32 i = r_.frees_[f].node;
        return is_node(i) && !node(i).live() && !node(i).unused() && node(i).free_range() == f;
    }

    const RangeAllocator<P, Word, Steps>& r_;
    Audit& a_;
    u64 live_ = 0;
    u64 free_ = 0;
};

}  // namespace quarry
