// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The free ranges of a RangeAllocator: their records, densely numbered from 1; which numbers are
// unused, the latest first; and the indices by size, one for all, and one for each declared
// alignment by what is left of a range behind its first granule there.
//
// Whoever changes a record that is indexed takes it out before. Costs: those of SizeIndex, once
// for each index. Metadata: range_shape.hpp. One caller at a time.
#pragma once

#include "range_shape.hpp"

namespace quarry {

template <typename Word, typename Steps>
class FreeRanges {
public:
    using Record = FreeRange<Word>;
    using Aligned = AlignedSizes<Word>;
    using Sizes = SizeIndex<FreeSizes<Word>, Steps>;
    using Plan = RangePlan<Word, Sizes, Steps>;

    // No free range at all. The plan outlives this.
    void attach(const Plan& plan, char* records, char* tables) {
        plan_ = &plan;
        records_ = reinterpret_cast<Record*>(records + plan.frees_at());
        records_[0] = {};
        unused_numbers_ = reinterpret_cast<u32*>(records + plan.stack_at());
        links_ = records;
        unused_ = 0;
        aligns_ = plan.aligns;
        for (u32 f = static_cast<u32>(plan.frees()) - 1; f > 0; --f) release(f);
        attach_tables(tables);
    }
    // The indices are empty. The tables are zeroed.
    void attach_tables(char* tables) {
        const Plan& p = *plan_;
        sizes_.attach({records_}, tables, p.max_capacity, p.number_bits());
        for (unsigned k = 0; k < aligns_; ++k)
            aligned_[k].attach(aligned(k), tables + p.sizes_at(1 + k), p.max_capacity,
                               p.number_bits());
    }

    Record& operator[](u32 f) { return records_[f]; }
    const Record& operator[](u32 f) const { return records_[f]; }
    Record* records() { return records_; }
    u64 count() const { return plan_->frees() - 1 - unused_; }
    bool is_number(u32 f) const { return f >= 1 && f < plan_->frees(); }

    u32 take() { return unused_numbers_[unused_--]; }
    void release(u32 f) { unused_numbers_[++unused_] = f; }
    u32 unused() const { return unused_; }
    u32 unused_number(u32 k) const { return unused_numbers_[k]; }  // 1..unused()

    // A record enters the indices, and leaves them.
    [[gnu::always_inline]] void index(u32 f) {
        sizes_.insert(f, records_[f].size);
        if (aligns_ != 0) [[unlikely]] index_aligned(f);
    }
    [[gnu::always_inline]] void unindex(u32 f) {
        sizes_.remove(f, records_[f].size);
        if (aligns_ != 0) [[unlikely]] unindex_aligned(f);
    }
    // One that is indexed gets another size, and start.
    void change(u32 f, u64 start, u64 size) {
        unindex(f);
        records_[f].start = static_cast<Word>(start);
        records_[f].size = static_cast<Word>(size);
        index(f);
    }

    // All sizes in granules; 0: there is none. The smallest of this size at least.
    [[gnu::always_inline]] u32 find(u64 size) const { return sizes_.find(size); }
    // The one to take for `size` at multiples of `align`: where this was declared, that with
    // the least room; else one of the best kCandidates, or one of size + align - 1, or one
    // with room at a larger alignment that was declared. `capacity` bounds what need be tried.
    u32 find(u64 size, u64 align, u64 capacity) const {
        for (unsigned k = 0; k < aligns_; ++k)
            if (plan_->align[k] == align) return aligned_[k].find(size);
        const auto fits = [&](u32 f) {
            const u64 start = records_[f].start;
            const u64 at = round_up(start, align);
            return at - start < records_[f].size && start + records_[f].size - at >= size;
        };
        u32 best = sizes_.first_of(size, kCandidates, fits);
        if (best == 0 && size + align - 1 <= capacity) best = sizes_.find(size + align - 1);
        // Room at a larger alignment is room at this one.
        for (unsigned k = 0; best == 0 && k < aligns_; ++k)
            if (plan_->align[k] > align) best = aligned_[k].find(size);
        return best;
    }
    u32 greatest() const { return sizes_.greatest(); }

    unsigned aligns() const { return aligns_; }
    const Sizes& sizes() const { return sizes_; }
    const SizeIndex<Aligned, Steps>& aligned_sizes(unsigned k) const { return aligned_[k]; }
    Aligned aligned(unsigned k) const {
        return {records_, reinterpret_cast<u32(*)[2]>(links_ + plan_->links_at(k)), plan_->align[k]};
    }

private:
    static constexpr unsigned kCandidates = 8;

    [[gnu::noinline]] void index_aligned(u32 f) {
        for (unsigned k = 0; k < aligns_; ++k)
            if (const u64 room = aligned(k).size_of(f)) aligned_[k].insert(f, room);
    }
    [[gnu::noinline]] void unindex_aligned(u32 f) {
        for (unsigned k = 0; k < aligns_; ++k)
            if (const u64 room = aligned(k).size_of(f)) aligned_[k].remove(f, room);
    }

    const Plan* plan_ = nullptr;
    Record* records_ = nullptr;
    u32* unused_numbers_ = nullptr;
    char* links_ = nullptr;
    u32 unused_ = 0;
    unsigned aligns_ = 0;
    Sizes sizes_;
    SizeIndex<Aligned, Steps> aligned_[kRangeAligns];
};

}  // namespace quarry
