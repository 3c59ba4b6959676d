// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// RangeAllocator: offsets of memory that it never touches (VRAM, a PCI BAR, a file, indices
// of anything). Exact best fit, immediate coalescing, hard real time.
//
//   #include "module/core/range/range_allocator.hpp"
//
//   quarry::RangeAllocator<Platform> ranges;
//   // 64 MiB in granules of 256 bytes, at most 10,000 ranges live, 4 KiB alignment indexed.
//   const quarry::RangeShape shape{.capacity = 64 << 20, .granule = 256, .max_live = 10000,
//                                  .aligns = {4096}};
//   if (!ok(ranges.init(shape))) return;       // the only call that allocates
//   const auto texture = ranges.allocate(100'000, 4096);
//   if (!texture) return;                      // texture.error() says why
//   upload(texture->offset);                   // 0 .. capacity, in bytes
//   if (auto size = ranges.try_reallocate(*texture, 90'000)) use(*size);
//   if (!ranges.free(*texture)) return;        // or by offset: ranges.free(texture->offset)
//
// Guarantees
//   - best fit: the smallest free range that is large enough, counted in granules; among
//     equals, the latest. What is freed merges with its neighbours at once
//   - all metadata is taken in init; 2 x max_live + 1 nodes suffice for every state, so a
//     request fails only for want of space, or because max_live are live (out_of_nodes)
//   - each wrong free is its own error, changes nothing, and costs no more than a right one,
//     also after the neighbours coalesced: already_free (in a free range), not_object (inside
//     a live range), misaligned, out_of_range, not_found (a handle that is another range's)
//   - alignment: up to the granule free of cost. One that was declared in the shape is exact:
//     it succeeds whenever any free range has room for it, and takes the one with the least
//     room. Any other succeeds whenever a range of size + alignment - granule exists, or one
//     of the best 8 candidates fits
//   - a failed call changes nothing
//
// Costs: allocate, free, try_reallocate, size_of, range_at: O(log(capacity / granule)) steps
// at worst (step_bound() says how many), about ten mostly, whatever is live. A step is a node,
// a home of eight, a list, or a word of a bitmap. init, reset, grow_capacity with tables:
// O(metadata).
// Metadata: required_meta_bytes(); 75 to 85 bytes for each range that can be live with Word u32,
// 105 to 115 with u64; where the capacity is more than 256 granules for each, up to 32 and 64
// more; 8 for each alignment, and at most 30 KiB for each index by size. Of that 10 to 16 bytes
// are where ranges live; a pair of free and allocation touches one line of those that is not
// in the nearest cache, and mostly no other such. The rest stands by for the worst case.
//
// Word: u64 serves any capacity; u32 halves what is touched, for less than 2^31 granules.
// Context: any, but init and grow_capacity with tables (task). One caller at a time: whoever
// shares it holds a lock, for step_bound() steps at most. node_table.hpp and size_index.hpp say
// how ranges are found by offset and by size. (Best fit and boundary tags: Knuth 1968,
// volume 1, 2.5.)
#pragma once

#include "../base/audit.hpp"
#include "../platform/platform.hpp"
#include "free_ranges.hpp"
#include "node_table.hpp"

namespace quarry {

template <Platform P, typename Word, typename Steps>
class RangeAudit;

template <Platform P, typename Word = u64, typename Steps = NoSteps>
class RangeAllocator {
    using Nodes = NodeTable<Word, Steps>;
    using Spot = typename Nodes::Spot;
    using Place = typename Nodes::Place;
    using Frees = FreeRanges<Word, Steps>;
    using Plan = typename Frees::Plan;

public:
    RangeAllocator() = default;
    ~RangeAllocator() {
        if (!records_) return;
        P::meta_free(records_, plan_.record_bytes());
        P::meta_free(tables_, plan_.table_bytes());
    }
    RangeAllocator(const RangeAllocator&) = delete;
    RangeAllocator& operator=(const RangeAllocator&) = delete;

    // ---- making, growing ----

    // Exactly what init takes from the platform. Errors: invalid, too_large.
    static Result<u64> required_meta_bytes(const RangeShape& shape) {
        const auto plan = Plan::of(shape);
        if (!plan) return plan.error();
        return plan->record_bytes() + plan->table_bytes();
    }

    // Takes the metadata; all of the capacity is one free range. Errors: invalid, too_large,
    // initialised, no_memory; then nothing has changed. Context: task.
    Error init(const RangeShape& shape) {
        if (records_) return Error::initialised;
        const auto plan = Plan::of(shape);
        if (!plan) return plan.error();
        void* records = P::meta_alloc(plan->record_bytes(), Context::may_sleep);
        if (!records) return Error::no_memory;
        void* tables = P::meta_alloc(plan->table_bytes(), Context::may_sleep);
        if (!tables) {
            P::meta_free(records, plan->record_bytes());
            return Error::no_memory;
        }
        plan_ = *plan;
        records_ = static_cast<char*>(records);
        tables_ = static_cast<char*>(tables);
        start_over();
        return Error::none;
    }

    // All ranges are gone, the capacity stays. O(metadata). Context: any.
    void reset() {
        if (!records_) return;
        auto* words = reinterpret_cast<u64*>(tables_);
        for (u64 i = 0; i < plan_.table_bytes() / sizeof(u64); ++i) words[i] = 0;
        start_over();
    }

    // Further space behind the end, up to the shape's max_capacity: O(log), no metadata.
    // Errors: uninitialised, invalid (not larger, no multiple of the granule), no_memory (above
    // max_capacity: tables are needed). Context: any.
    Error grow_capacity(u64 bytes) {
        if (Error e = check_growth(bytes); !ok(e)) return e;
        if (bytes >> plan_.shift > plan_.max_capacity) return Error::no_memory;
        extend(bytes >> plan_.shift);
        return Error::none;
    }
    // Bytes of the tables that the other grow_capacity takes. Errors: those of it.
    Result<u64> required_growth_bytes(u64 bytes) const {
        if (Error e = check_growth(bytes); !ok(e)) return e;
        return grown(bytes).table_bytes();
    }
    // The same to any capacity, which becomes the max_capacity: `tables` are of exactly
    // required_growth_bytes(bytes), zeroed, from P::meta_alloc; they become the allocator's,
    // and the old ones are freed. Live ranges, handles and nodes stay what they are. What then
    // starts behind the first max_capacity is found by a tree, not at home. Errors: those
    // above, too_large; then `tables` stays the caller's. O(ranges).
    Error grow_capacity(u64 bytes, void* tables) {
        if (Error e = check_growth(bytes); !ok(e)) return e;
        if (!tables) return Error::no_memory;
        P::meta_free(tables_, plan_.table_bytes());
        tables_ = static_cast<char*>(tables);
        plan_ = grown(bytes);
        nodes_.widen(plan_.granule_bits());
        frees_.attach_tables(tables_);
        Spot s;
        for (bool more = nodes_.first(s); more; more = nodes_.next(s))
            if (nodes_.is_free(s)) frees_.index(nodes_.free_range(s));
        extend(bytes >> plan_.shift);
        return Error::none;
    }

    // Gives the end of the space back. Errors: uninitialised, invalid (0, not smaller, no
    // multiple of the granule), busy (a live range reaches into it); then nothing has changed.
    Error shrink_capacity(u64 bytes) {
        if (!records_) return Error::uninitialised;
        const u64 end = bytes >> plan_.shift;
        if (end == 0 || bytes & granule_mask() || end >= plan_.capacity) return Error::invalid;
        Spot last;
        if (!nodes_.last(last) || !nodes_.is_free(last) || nodes_.start(last) > end)
            return Error::busy;
        free_granules_ -= plan_.capacity - end;
        const u32 f = nodes_.free_range(last);
        if (nodes_.start(last) == end) {
            frees_.unindex(f);
            nodes_.set_live(last, f);
            nodes_.remove(last);
            frees_.release(f);
        } else {
            frees_.change(f, frees_[f].start, end - frees_[f].start);
        }
        plan_.capacity = end;
        return Error::none;
    }

    // ---- ranges ----

    // `size` bytes, rounded up to granules, at a multiple of `align`, a power of two. Errors:
    // invalid (size 0, align no power of two), too_large (above the capacity), out_of_nodes,
    // pool_full, uninitialised.
    Result<RangeHandle> allocate(u64 size, u64 align = 1) {
        if ((size - 1) >> plan_.shift >= plan_.capacity || !is_power_of_two(align)) [[unlikely]]
            return wrong_request(size, align);
        if (live_ == plan_.max_live) [[unlikely]] return Error::out_of_nodes;
        const u64 n = granules(size);
        if (align > u64{1} << plan_.shift) return allocate_aligned(n, align >> plan_.shift);
        const u32 best = frees_.find(n);
        if (best == 0) [[unlikely]] return Error::pool_full;
        return cut(best, n);
    }

    // Frees a live range and answers its size in bytes. Errors: see above; uninitialised.
    Result<u64> free(RangeHandle handle) {
        Place p, left, right;
        const u64 start = handle.offset >> plan_.shift;
        if (in_space(handle.offset) && nodes_.find(start, p) && nodes_.number(p) == handle.node &&
            nodes_.beside(p, start, left, right) && !nodes_.is_free(p)) [[likely]]
            return give_back(p, start, left, right);
        return free_rare(handle);
    }
    Result<u64> free(Offset offset) {
        Place p, left, right;
        const u64 start = offset >> plan_.shift;
        if (in_space(offset) && nodes_.find(start, p) && nodes_.beside(p, start, left, right) &&
            !nodes_.is_free(p)) [[likely]]
            return give_back(p, start, left, right);
        return free_rare(offset);
    }

    // Makes a live range shorter or longer where it stands, and answers its new size in bytes.
    // Errors: those of free; invalid (size 0), cannot_grow (what is behind is not free, or small).
    Result<u64> try_reallocate(RangeHandle handle, u64 size) {
        Spot s;
        if (!names(handle, s)) return wrong_handle(handle);
        return resize(s, size);
    }
    Result<u64> try_reallocate(Offset offset, u64 size) {
        Spot s;
        if (!live_at(offset, s)) return wrong_offset(offset);
        return resize(s, size);
    }

    // ---- questions ----

    // Bytes of a live range. Errors: those of free.
    Result<u64> size_of(RangeHandle handle) const {
        Spot s;
        if (!names(handle, s)) return wrong_handle(handle);
        return view(s).size;
    }
    Result<u64> size_of(Offset offset) const {
        Spot s;
        if (!live_at(offset, s)) return wrong_offset(offset);
        return view(s).size;
    }
    // The handle of the live range that starts at `offset`. Errors: those of free.
    Result<RangeHandle> find(Offset offset) const {
        Spot s;
        if (!live_at(offset, s)) return wrong_offset(offset);
        return RangeHandle{offset, nodes_.number(s)};
    }
    // The live range of this node, as a caller's own table names it. Errors: not_found.
    Result<RangeHandle> named(u32 node) const {
        Spot s;
        if (!records_ || !nodes_.named(node, s) || nodes_.is_free(s)) return Error::not_found;
        return RangeHandle{nodes_.start(s) << plan_.shift, node};
    }
    // The range, live or free, that holds this byte: so whoever iterates in steps can let go
    // of the lock between, and go on at offset + size. Errors: out_of_range, uninitialised.
    Result<RangeView> range_at(Offset offset) const {
        if (!records_) return Error::uninitialised;
        if (offset >= capacity()) return Error::out_of_range;
        Spot s;
        if (!nodes_.at_most(offset >> plan_.shift, s)) return Error::not_found;
        return view(s);
    }

    // Bytes. All of these: O(1), largest_available O(log).
    u64 capacity() const { return plan_.capacity << plan_.shift; }
    u64 max_capacity() const { return plan_.max_capacity << plan_.shift; }
    u64 granule() const { return u64{1} << plan_.shift; }
    u64 total_available() const { return free_granules_ << plan_.shift; }
    u64 largest_available() const {
        if (!records_) return 0;
        const u32 f = frees_.greatest();
        return f ? u64{frees_[f].size} << plan_.shift : 0;
    }
    bool is_empty() const { return live_ == 0; }
    u64 live() const { return live_; }
    u64 max_live() const { return plan_.max_live; }
    // Numbers of nodes are below it. It grows with max_live and never changes.
    u64 nodes() const { return records_ ? nodes_.count() : 0; }
    u64 meta_bytes() const { return records_ ? plan_.record_bytes() + plan_.table_bytes() : 0; }

    RangeReport report() const {
        return {capacity(),  total_available(), largest_available(),
                records_ ? frees_.count() : 0, live_, plan_.max_live};
    }
    // fn(const RangeView&) for each, by offset. fn changes nothing here. O(ranges).
    template <typename Fn>
    void for_each_free(Fn&& fn) const { for_each(false, fn); }
    template <typename Fn>
    void for_each_live(Fn&& fn) const { for_each(true, fn); }

    // fn(bytes, ranges) for each bin of sizes that has free ranges, smallest first: below 4096
    // granules a bin is one size, above it begins with `bytes`. O(free ranges + bins).
    template <typename Fn>
    void for_each_free_size(Fn&& fn) const {
        if (!records_) return;
        frees_.sizes().for_each_bin([&](u64 least, u64 ranges) {
            fn(least << plan_.shift, ranges);
        });
    }

    // Most steps that one call can take, of those that are O(log).
    u64 step_bound() const {
        const u64 by_size = 4 + 2 * Frees::Sizes::depth_for(plan_.max_capacity, plan_.number_bits());
        // At worst a free: find twice, on and back (two trees each), remove twice; and chains.
        const u64 by_offset = 10 * u64{nodes_.depth()} + 80;
        return 16 + (1 + plan_.aligns) * 4 * by_size + by_offset;
    }

    // Compares everything with everything. O(metadata). Context: any, long. In steps: RangeAudit.
    void verify(Audit& audit) const {
        RangeAudit<P, Word, Steps> whole(*this, audit);
        while (whole.step(u32{1} << 30)) {}
    }

private:
    friend class RangeAudit<P, Word, Steps>;

    u64 granule_mask() const { return (u64{1} << plan_.shift) - 1; }
    // size is 1 at least.
    u64 granules(u64 size) const { return ((size - 1) >> plan_.shift) + 1; }

    Error wrong_request(u64 size, u64 align) const {
        if (!records_) return Error::uninitialised;
        if (size == 0 || !is_power_of_two(align)) return Error::invalid;
        return Error::too_large;
    }
    // Why no live range starts at `offset`.
    Error wrong_offset(Offset offset) const {
        if (!records_) return Error::uninitialised;
        if (offset >= capacity()) return Error::out_of_range;
        if (offset & granule_mask()) return Error::misaligned;
        // Ranges follow each other without a gap: the last that starts before holds it.
        Spot holder;
        if (!nodes_.at_most(offset >> plan_.shift, holder)) return Error::not_found;
        return nodes_.is_free(holder) ? Error::already_free : Error::not_object;
    }
    Error wrong_handle(RangeHandle handle) const {
        Spot s;
        return live_at(handle.offset, s) ? Error::not_found : wrong_offset(handle.offset);
    }

    bool names(RangeHandle handle, Spot& s) const {
        return live_at(handle.offset, s) && nodes_.number(s) == handle.node;
    }
    bool in_space(Offset offset) const {
        const u64 granule = offset >> plan_.shift;
        return granule < plan_.capacity && granule << plan_.shift == offset;
    }
    bool live_at(Offset offset, Spot& s) const {
        return in_space(offset) && nodes_.find(offset >> plan_.shift, s) && !nodes_.is_free(s);
    }
    // Where the range ends: where the next one starts.
    u64 end_of(Spot s) const { return nodes_.next(s) ? nodes_.start(s) : plan_.capacity; }
    RangeView view(const Spot& s) const {
        const u64 start = nodes_.start(s);
        return {start << plan_.shift, (end_of(s) - start) << plan_.shift, !nodes_.is_free(s)};
    }
    template <typename Fn>
    void for_each(bool live, Fn&& fn) const {
        if (!records_) return;
        Spot s;
        for (bool more = nodes_.first(s); more; more = nodes_.next(s))
            if (nodes_.is_free(s) != live) fn(view(s));
    }

    // ---- the work ----

    // What is live at `s` becomes a free range of this number.
    template <typename S>
    [[gnu::always_inline]] void set_free(const S& s, u32 f, u64 start, u64 size) {
        frees_[f].start = static_cast<Word>(start);
        frees_[f].size = static_cast<Word>(size);
        nodes_.set_free(s, f);
        frees_.index(f);
    }
    [[gnu::noinline]] void add_free(u32 f, u64 start, u64 size) {
        set_free(nodes_.insert(start), f, start, size);
    }

    // The first `n` granules of the free range `f` become live, what is left stays free.
    [[gnu::always_inline]] RangeHandle cut(u32 f, u64 n) {
        const u64 start = frees_[f].start;
        Place p;
        if (!nodes_.find(start, p)) [[unlikely]] return cut_rare(f, n);
        const u64 left = frees_[f].size - n;
        ++live_;
        free_granules_ -= n;
        frees_.unindex(f);
        nodes_.set_live(p, f);
        const RangeHandle handle{start << plan_.shift, nodes_.number(p)};
        if (left == 0) {
            frees_.release(f);
        } else if (Place rest; nodes_.insert(start + n, p, rest)) [[likely]] {
            set_free(rest, f, start + n, left);
        } else {
            add_free(f, start + n, left);
        }
        return handle;
    }
    [[gnu::noinline]] RangeHandle cut_rare(u32 f, u64 n) {
        const u64 start = frees_[f].start;
        const u64 left = frees_[f].size - n;
        Spot s;
        (void)nodes_.find(start, s);
        frees_.unindex(f);
        nodes_.set_live(s, f);
        const RangeHandle handle = became_live(s, start, n);
        if (left != 0)
            add_free(f, start + n, left);
        else
            frees_.release(f);
        return handle;
    }
    // [at, at + n) of it becomes live; what is left on both sides stays free.
    RangeHandle carve(u32 f, u64 at, u64 n) {
        const u64 before = at - frees_[f].start;
        if (before == 0) return cut(f, n);
        const u64 left = frees_[f].size - before - n;
        frees_.change(f, at - before, before);
        const RangeHandle handle = became_live(nodes_.insert(at), at, n);
        if (left != 0) add_free(frees_.take(), at + n, left);
        return handle;
    }
    RangeHandle became_live(const Spot& s, u64 start, u64 n) {
        ++live_;
        free_granules_ -= n;
        return {start << plan_.shift, nodes_.number(s)};
    }

    // The live range at `s` becomes free and merges with what is free beside it.
    [[gnu::always_inline]] u64 give_back(const Place& s, u64 start, const Place& left,
                                         const Place& right) {
        return merge(s, start, nodes_.start(right), left, nodes_.is_free(left), right,
                     nodes_.is_free(right));
    }
    [[gnu::noinline]] u64 give_back(const Spot& s) {
        Spot left = s, right = s;
        const u64 start = nodes_.start(s);
        const bool more = nodes_.next(right);
        const u64 end = more ? nodes_.start(right) : plan_.capacity;
        const bool right_free = more && nodes_.is_free(right);
        const bool left_free = nodes_.prev(left) && nodes_.is_free(left);
        return merge(s, start, end, left, left_free, right, right_free);
    }
    [[gnu::noinline]] Result<u64> free_rare(RangeHandle handle) {
        Spot s;
        if (!names(handle, s)) return wrong_handle(handle);
        return give_back(s);
    }
    [[gnu::noinline]] Result<u64> free_rare(Offset offset) {
        Spot s;
        if (!live_at(offset, s)) return wrong_offset(offset);
        return give_back(s);
    }
    template <typename S>
    [[gnu::always_inline]] u64 merge(const S& s, u64 start, u64 end, const S& left,
                                     bool left_free, const S& right, bool right_free) {
        const u64 n = end - start;
        u64 size = n;
        u32 f = 0;
        --live_;
        free_granules_ += n;
        if (right_free) {
            f = nodes_.free_range(right);
            frees_.unindex(f);
            size += frees_[f].size;
            nodes_.set_live(right, f);
            nodes_.remove(right);
        }
        if (left_free) {
            if (f != 0) frees_.release(f);
            f = nodes_.free_range(left);
            frees_.unindex(f);
            nodes_.remove(s);
            frees_[f].size = static_cast<Word>(frees_[f].size + size);
            frees_.index(f);
        } else {
            set_free(s, f != 0 ? f : frees_.take(), start, size);
        }
        return n << plan_.shift;
    }

    Result<u64> resize(const Spot& s, u64 size) {
        if (size == 0) return Error::invalid;
        const u64 start = nodes_.start(s);
        const u64 n = granules(size);
        Spot right = s;
        const bool more = nodes_.next(right);
        const u64 old = (more ? nodes_.start(right) : plan_.capacity) - start;
        const u32 f = more && nodes_.is_free(right) ? nodes_.free_range(right) : 0;
        const u64 both = old + frees_[f].size;
        if (n > both) return Error::cannot_grow;
        if (n == old) return n << plan_.shift;
        if (f != 0) {
            frees_.unindex(f);
            nodes_.set_live(right, f);
            nodes_.remove(right);
        }
        if (n != both)
            add_free(f != 0 ? f : frees_.take(), start + n, both - n);
        else if (f != 0)
            frees_.release(f);
        free_granules_ += old - n;
        return n << plan_.shift;
    }

    Result<RangeHandle> allocate_aligned(u64 n, u64 align) {
        const u32 best = frees_.find(n, align, plan_.capacity);
        if (best == 0) return Error::pool_full;
        return carve(best, round_up(frees_[best].start, align), n);
    }

    // ---- making, growing ----

    void start_over() {
        frees_.attach(plan_, records_, tables_);
        nodes_.attach(records_, plan_.nodes, plan_.granule_bits(), frees_.records());
        nodes_.clear();
        live_ = 0;
        free_granules_ = 0;
        const u64 capacity = plan_.capacity;
        plan_.capacity = 0;
        extend(capacity);
    }
    // The space ends at `end` granules, which is more than before and covered by the tables.
    void extend(u64 end) {
        const u64 more = end - plan_.capacity;
        Spot last;
        if (nodes_.last(last) && nodes_.is_free(last)) {
            const u32 f = nodes_.free_range(last);
            frees_.change(f, frees_[f].start, frees_[f].size + more);
        } else {
            add_free(frees_.take(), plan_.capacity, more);
        }
        plan_.capacity = end;
        free_granules_ += more;
    }
    Error check_growth(u64 bytes) const {
        if (!records_) return Error::uninitialised;
        if (bytes <= capacity() || bytes & granule_mask()) return Error::invalid;
        return bytes >> plan_.shift > Plan::kMostGranules ? Error::too_large : Error::none;
    }
    Plan grown(u64 bytes) const {
        Plan plan = plan_;
        const u64 end = bytes >> plan_.shift;
        if (end > plan.max_capacity) plan.max_capacity = end;
        return plan;
    }

    Plan plan_{};
    u32 live_ = 0;
    u64 free_granules_ = 0;
    char* records_ = nullptr;  // one block: the node table, free ranges, their numbers, links
    char* tables_ = nullptr;   // one block: the indices by size
    Nodes nodes_;
    Frees frees_;
};

}  // namespace quarry

#include "range_audit.hpp"
