// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The audit of a RangeAllocator: every range is looked at from every side.
//
//   - homes are whole: ranges in their order, each slot once, the chain of the free ones; what
//     is spare is in its bucket's tree or among the unused; the summary says which buckets
//     hold any range
//   - by offset, the ranges follow each other from 0 to the capacity, each found by its start
//     and by its number; no two free ones are neighbours; a free one's record says what the
//     next one's start says; the sums are what is said of them; nothing else is at home
//   - each free range is in the bin of its size, and in the one of its room at each declared
//     alignment; nothing else is; the bitmaps say which bins are not empty
//   - a number of a free range is in use, or among the unused
//
// It goes in steps, so that whoever holds a lock can let go of it between; it is exact as long
// as nobody changes anything from the first step to the last. After the first fault of a part
// it ends: what follows would be read through what is torn.
//
// O(metadata) in all, no memory of its own. One caller at a time.
#pragma once

#include "range_allocator.hpp"

namespace quarry {

template <Platform P, typename Word, typename Steps>
class RangeAudit {
public:
    RangeAudit(const RangeAllocator<P, Word, Steps>& ranges, Audit& audit) : r_(ranges), a_(audit) {}

    // Looks at `most` more ranges at most, but eight at least; false: that was all.
    bool step(u32 most) {
        seen_ = 0;
        if (!r_.records_) return false;
        do {
            if (part_ == Part::end || faults_ != 0) return false;
            go_on();
            seen_ += cost_;
        } while (seen_ + kHomeCost <= most);
        return true;
    }
    // What the last step looked at.
    u32 seen() const { return seen_; }

private:
    using Spot = typename NodeTable<Word, Steps>::Spot;
    enum class Part : u8 { homes, spares, unused, chain, sizes, numbers, end };
    // A home, or the heads of 64 bins, counts like so many ranges.
    static constexpr u32 kHomeCost = RangeHome::kRanges;

    void go_on() {
        cost_ = 1;
        switch (part_) {
        case Part::homes: return home();
        case Part::spares: return spare();
        case Part::unused: return unused();
        case Part::chain: return range();
        case Part::sizes: return sizes();
        case Part::numbers: return number();
        case Part::end: return;
        }
    }
    void expect(bool good, const char* what, Offset where) {
        faults_ += !good;
        a_.expect(good, what, where);
    }
    void next_part(Part part) {
        part_ = part;
        at_ = 0;
    }
    Offset bytes(u64 granule) const { return granule << r_.plan_.shift; }
    const auto& nodes() const { return r_.nodes_; }
    const auto& frees() const { return r_.frees_; }

    // ---- by place ----

    void home() {
        cost_ = kHomeCost;
        if (at_ == nodes().buckets()) {
            expect(spares_ + nodes().unused_spares() == nodes().spares(),
                   "a spare range is neither in use nor unused", 0);
            return next_part(Part::unused);
        }
        expect(nodes().home_good(at_, r_.plan_.frees(), placed_), "the table of ranges is torn",
               bytes(nodes().base_of(at_)));
        from_ = nodes().base_of(at_);
        part_ = Part::spares;
    }
    void spare() {
        const u32 i = nodes().spare_from(at_, from_);
        if (i == 0) {
            ++at_;
            part_ = Part::homes;
            return;
        }
        const bool good = spares_ < nodes().spares() && nodes().spare_good(at_, i, from_);
        expect(good, "a tree of spare ranges is torn", bytes(from_));
        if (!good) return;
        ++spares_;
        from_ = nodes().spare_start(i) + 1;
    }
    void unused() {
        if (at_ == nodes().unused_spares()) return next_part(Part::chain);
        expect(nodes().unused_good(at_), "a spare range in use is among the unused", 0);
        ++at_;
    }

    // ---- by offset ----

    void range() {
        if (at_ == r_.plan_.capacity) return sums();
        Spot s{};
        if (!nodes().find(at_, s)) return expect(false, "no range starts where one ends", bytes(at_));
        Spot named{}, behind = s;
        expect(nodes().named(nodes().number(s), named) && nodes().start(named) == at_,
               "a range is not found by its number", bytes(at_));
        const u64 end = nodes().next(behind) ? nodes().start(behind) : r_.plan_.capacity;
        expect(end > at_ && end <= r_.plan_.capacity, "the ranges do not fill the capacity",
               bytes(at_));
        if (nodes().is_free(s)) {
            free_one(s, end);
        } else {
            ++live_;
        }
        last_free_ = nodes().is_free(s);
        at_ = end;
    }
    void free_one(const Spot& s, u64 end) {
        expect(!last_free_, "two free neighbours are not merged", bytes(at_));
        const u32 f = nodes().free_range(s);
        const bool good = frees().is_number(f) && frees()[f].start == at_ &&
                          frees()[f].size == end - at_;
        expect(good, "a free range is not what its record says", bytes(at_));
        if (!good) return;
        ++free_;
        free_granules_ += end - at_;
        for (unsigned k = 0; k < frees().aligns(); ++k)
            with_room_[k] += frees().aligned(k).size_of(f) != 0;
    }
    void sums() {
        expect(live_ + free_ == placed_ + spares_, "the table holds not just the ranges", 0);
        expect(live_ == r_.live_, "the count of live ranges is wrong", 0);
        expect(free_ == frees().count(), "the count of free ranges is wrong", 0);
        expect(free_granules_ == r_.free_granules_, "the sum of free bytes is wrong", 0);
        a_.saw_objects(live_);
        next_part(Part::sizes);
    }

    // ---- by size ----

    void sizes() {
        if (index_ == 0) return bins(frees().sizes(), free_, [&](u32 f) { return frees()[f].size; });
        const unsigned k = index_ - 1;
        if (k == frees().aligns()) return next_part(Part::numbers);
        bins(frees().aligned_sizes(k), with_room_[k],
             [&](u32 f) { return frees().aligned(k).size_of(f); });
    }
    // at_ is a bin; before_ its node that was seen last.
    template <typename Index, typename Size>
    void bins(const Index& index, u64 wanted, Size&& size) {
        u32 bin = static_cast<u32>(at_);
        u32 f = 0;
        if (before_ != 0) {
            f = index.next_in(bin, before_);
        } else if (bin == index.words() * 64) {
            expect(in_bins_ == wanted, "the bins hold not just the free ranges", 0);
            ++index_;
            at_ = in_bins_ = 0;
            return;
        } else {
            cost_ = kHomeCost;
            if (bin % 64 == 0) expect(index.word_good(bin / 64), "the bins by size are torn", bin);
            bin = index.next_bin(bin);
            if (bin == Index::kNoBin || faults_ != 0) {
                at_ = round_up(at_ + 1, 64);
                return;
            }
            at_ = bin;
            f = index.first_in(bin);
        }
        if (f == 0) {
            before_ = 0;
            ++at_;
            return;
        }
        const bool good = in_use(f) && Index::bin_of(size(f)) == bin;
        expect(good, "a bin holds what is not its own", bin);
        expect(!good || (++in_bins_ <= wanted && index.in_order(bin, before_, f)),
               "the bins by size are torn", bin);
        before_ = f;
    }

    // ---- by number ----

    void number() {
        if (at_ == frees().unused()) return next_part(Part::end);
        const u32 f = frees().unused_number(static_cast<u32>(++at_));
        expect(frees().is_number(f) && !in_use(f), "a number in use is among the unused", 0);
    }
    bool in_use(u32 f) const {
        Spot s;
        return frees().is_number(f) && nodes().find(frees()[f].start, s) && nodes().is_free(s) &&
               nodes().free_range(s) == f;
    }

    const RangeAllocator<P, Word, Steps>& r_;
    Audit& a_;
    Part part_ = Part::homes;
    bool last_free_ = false;
    u32 cost_ = 1;
    u32 seen_ = 0;
    u32 before_ = 0;
    unsigned index_ = 0;  // 0: by size; from 1 on: by room at an alignment
    u64 faults_ = 0;
    u64 at_ = 0;    // where this part is: a bucket, a granule, a bin, ...
    u64 from_ = 0;  // the least start of the next spare
    u64 placed_ = 0, spares_ = 0, live_ = 0, free_ = 0, free_granules_ = 0, in_bins_ = 0;
    u64 with_room_[kRangeAligns] = {};
};

}  // namespace quarry
