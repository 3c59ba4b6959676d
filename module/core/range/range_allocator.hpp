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
// a home of four, a list, or a word of a bitmap. init, reset, grow_capacity with tables: O(metadata).
// Metadata: required_meta_bytes(); about 120 bytes for each range that can be live with Word
// u32, 200 with u64, 8 more for each alignment, and at most 30 KiB for each index by size. Of
// that a call touches some six cache lines; most of the rest stands by for the worst case.
//
// Word: u64 serves any capacity; u32 halves what is touched, for less than 2^31 granules.
// Context: any, but init and grow_capacity with tables (task). One caller at a time: whoever
// shares it holds a lock, for step_bound() steps at most. node_table.hpp and size_index.hpp say
// how ranges are found by offset and by size. (Best fit and boundary tags: Knuth 1968,
// volume 1, 2.5.)
#pragma once

#include "../base/audit.hpp"
#include "../platform/platform.hpp"
#include "range_shape.hpp"

namespace quarry {

template <Platform P, typename Word, typename Steps>
class RangeAudit;

template <Platform P, typename Word = u64, typename Steps = NoSteps>
class RangeAllocator {
    using Node = RangeNode<Word>;
    using Free = FreeRange<Word>;

    using Records = FreeSizes<Word>;
    using Aligned = AlignedSizes<Word>;
    using Sizes = SizeIndex<Records, Steps>;
    using Plan = RangePlan<Word, Sizes, Steps>;

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
        attach_sizes();
        for (u32 i = nodes_[0].next; i != 0; i = nodes_[i].next)
            if (!nodes_[i].live()) index(nodes_[i].free_range());
        extend(bytes >> plan_.shift);
        return Error::none;
    }

    // Gives the end of the space back. Errors: uninitialised, invalid (0, not smaller, no
    // multiple of the granule), busy (a live range reaches into it); then nothing has changed.
    Error shrink_capacity(u64 bytes) {
        if (!records_) return Error::uninitialised;
        const u64 end = bytes >> plan_.shift;
        if (end == 0 || bytes & granule_mask() || end >= plan_.capacity) return Error::invalid;
        const u32 last = nodes_[0].prev;
        const u64 start = nodes_[last].start;
        if (nodes_[last].live() || start > end) return Error::busy;
        free_granules_ -= plan_.capacity - end;
        if (start == end)
            remove_free(last);
        else
            resize_free(last, end - start);
        plan_.capacity = end;
        return Error::none;
    }

    // ---- ranges ----

    // `size` bytes, rounded up to granules, at a multiple of `align`, a power of two. Errors:
    // invalid (size 0, align no power of two), too_large (above the capacity), out_of_nodes,
    // pool_full, uninitialised.
    Result<RangeHandle> allocate(u64 size, u64 align = 1) {
        if (size - 1 >= capacity() || !is_power_of_two(align)) [[unlikely]]
            return wrong_request(size, align);
        if (live_ == plan_.max_live) [[unlikely]] return Error::out_of_nodes;
        const u64 n = granules(size);
        if (align > u64{1} << plan_.shift) return allocate_aligned(n, align >> plan_.shift);
        if (n < kExact && plan_.aligns == 0) {
            const u32 size = sizes_.find_exact(static_cast<u32>(n));
            if (size < kExact) [[likely]] return cut(size, static_cast<u32>(n));
        }
        const u32 best = sizes_.find(n);
        if (best == 0) [[unlikely]] return Error::pool_full;
        return carve(best, nodes_[frees_[best].node].start, n);
    }

    // Frees a live range and answers its size in bytes. Errors: see above; uninitialised.
    Result<u64> free(RangeHandle handle) {
        if (!names(handle)) [[unlikely]] return wrong_handle(handle);
        return give_back(handle.node);
    }
    Result<u64> free(Offset offset) {
        const u32 node = live_at(offset);
        if (node == 0) [[unlikely]] return wrong_offset(offset);
        return give_back(node);
    }

    // Makes a live range shorter or longer where it stands, and answers its new size in bytes.
    // Errors: those of free; invalid (size 0), cannot_grow (what is behind is not free, or small).
    Result<u64> try_reallocate(RangeHandle handle, u64 size) {
        if (!names(handle)) return wrong_handle(handle);
        return resize(handle.node, size);
    }
    Result<u64> try_reallocate(Offset offset, u64 size) {
        const u32 node = live_at(offset);
        if (node == 0) return wrong_offset(offset);
        return resize(node, size);
    }

    // ---- questions ----

    // Bytes of a live range. Errors: those of free.
    Result<u64> size_of(RangeHandle handle) const {
        if (!names(handle)) return wrong_handle(handle);
        return nodes_[handle.node].live_size() << plan_.shift;
    }
    Result<u64> size_of(Offset offset) const {
        const u32 node = live_at(offset);
        if (node == 0) return wrong_offset(offset);
        return nodes_[node].live_size() << plan_.shift;
    }
    // The handle of the live range that starts at `offset`. Errors: those of free.
    Result<RangeHandle> find(Offset offset) const {
        const u32 node = live_at(offset);
        if (node == 0) return wrong_offset(offset);
        return RangeHandle{offset, node};
    }
    // The live range of this node, as a caller's own table names it. Errors: not_found.
    Result<RangeHandle> named(u32 node) const {
        if (node < 4 || node >= nodes() || !nodes_[node].live()) return Error::not_found;
        return RangeHandle{u64{nodes_[node].start} << plan_.shift, node};
    }
    // The range, live or free, that holds this byte: so whoever iterates in steps can let go
    // of the lock between, and go on at offset + size. Errors: out_of_range, uninitialised.
    Result<RangeView> range_at(Offset offset) const {
        if (!records_) return Error::uninitialised;
        if (offset >= capacity()) return Error::out_of_range;
        return view(nodes_.at_most(offset >> plan_.shift));
    }

    // Bytes. All of these: O(1), largest_available O(log).
    u64 capacity() const { return plan_.capacity << plan_.shift; }
    u64 max_capacity() const { return plan_.max_capacity << plan_.shift; }
    u64 granule() const { return u64{1} << plan_.shift; }
    u64 total_available() const { return free_granules_ << plan_.shift; }
    u64 largest_available() const {
        if (!records_) return 0;
        const u32 f = sizes_.greatest();
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
                free_ranges(), live_,            plan_.max_live};
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
        sizes_.for_each_bin(free_ranges(), [&](u64 least, u64 ranges) {
            fn(least << plan_.shift, ranges);
        });
    }

    // Most steps that one call can take, of those that are O(log).
    u64 step_bound() const {
        const u64 by_size = 4 + 2 * Sizes::depth_for(plan_.max_capacity, plan_.number_bits());
        const u64 by_offset = 2 * u64{nodes_.depth()} + 16;
        return 16 + (1 + plan_.aligns) * 4 * by_size + 4 * by_offset;
    }

    // Compares everything with everything. O(metadata). Context: any, long.
    void verify(Audit& audit) const { RangeAudit<P, Word, Steps>(*this, audit).run(); }

private:
    friend class RangeAudit<P, Word, Steps>;

    static constexpr unsigned kCandidates = 8;
    static constexpr u64 kExact = Sizes::kExact;
    static constexpr u32 kDump = NodeTable<Word, Steps>::kDump;

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
        const u32 holder = nodes_.at_most(offset >> plan_.shift);
        return nodes_[holder].live() ? Error::not_object : Error::already_free;
    }
    Error wrong_handle(RangeHandle handle) const {
        return live_at(handle.offset) ? Error::not_found : wrong_offset(handle.offset);
    }

    bool names(RangeHandle h) const {
        if (h.node >= nodes() || h.node < 4) return false;
        const Node& node = nodes_[h.node];
        return node.live() && u64{node.start} << plan_.shift == h.offset;
    }
    u32 live_at(Offset offset) const {
        if (offset >= capacity() || offset & granule_mask()) return 0;
        const u32 i = nodes_.find(offset >> plan_.shift);
        return nodes_[i].live() ? i : 0;
    }
    u64 size_of_node(u32 i) const {
        const Node& node = nodes_[i];
        return node.live() ? node.live_size() : frees_[node.free_range()].size;
    }
    RangeView view(u32 i) const {
        return {u64{nodes_[i].start} << plan_.shift, size_of_node(i) << plan_.shift,
                nodes_[i].live()};
    }
    template <typename Fn>
    void for_each(bool live, Fn&& fn) const {
        if (!records_) return;
        for (u32 i = nodes_[0].next; i != 0; i = nodes_[i].next)
            if (nodes_[i].live() == live) fn(view(i));
    }

    // ---- records ----

    // Numbers of free ranges in use; stack_[1..unused_] holds the others.
    u64 free_ranges() const { return records_ ? plan_.frees() - 1 - unused_ : 0; }
    u32 take_number() { return stack_[unused_--]; }
    void release_number(u32 f) { stack_[++unused_] = f; }

    // Between `before` and what follows it.
    void link_after(u32 before, u32 i) {
        const u32 after = nodes_[before].next;
        nodes_[i].prev = before;
        nodes_[i].next = after;
        nodes_[before].next = i;
        nodes_[after].prev = i;
    }
    void unlink(u32 i) {
        nodes_[nodes_[i].prev].next = nodes_[i].next;
        nodes_[nodes_[i].next].prev = nodes_[i].prev;
    }

    // A free range enters the indices, and leaves them.
    void index(u32 f) {
        sizes_.insert(f, frees_[f].size);
        for (unsigned k = 0; k < plan_.aligns; ++k)
            if (const u64 room = aligned(k).size_of(f)) aligned_[k].insert(f, room);
    }
    void unindex(u32 f) {
        sizes_.remove(f, frees_[f].size);
        for (unsigned k = 0; k < plan_.aligns; ++k)
            if (const u64 room = aligned(k).size_of(f)) aligned_[k].remove(f, room);
    }
    Aligned aligned(unsigned k) const {
        auto* links = reinterpret_cast<u32(*)[2]>(records_ + plan_.links_at(k));
        return {&nodes_[0], frees_, links, plan_.align[k]};
    }

    // Node `i` becomes a free range of this number and size.
    void set_free(u32 i, u32 f, u64 size) {
        nodes_[i].set_free(f);
        frees_[f].node = i;
        frees_[f].size = static_cast<Word>(size);
        index(f);
    }
    void add_free(u32 before, u64 start, u64 size) {
        const u32 i = nodes_.make(start);
        link_after(before, i);
        set_free(i, take_number(), size);
    }
    void remove_free(u32 i) {
        const u32 f = nodes_[i].free_range();
        unindex(f);
        release_number(f);
        unlink(i);
        nodes_.drop(i);
    }
    void resize_free(u32 i, u64 size) {
        const u32 f = nodes_[i].free_range();
        unindex(f);
        frees_[f].size = static_cast<Word>(size);
        index(f);
    }

    // ---- the work ----

    // [at, at + n) of the free range `f` becomes live; what is left on both sides stays free.
    RangeHandle carve(u32 f, u64 at, u64 n) {
        const u32 i = frees_[f].node;
        const u64 start = nodes_[i].start;
        const u64 end = start + frees_[f].size;
        unindex(f);
        u32 live = i;
        if (at != start) {
            live = nodes_.make(at);
            link_after(i, live);
            set_free(i, f, at - start);
        } else {
            release_number(f);
        }
        nodes_[live].set_live(n);
        if (at + n != end) add_free(live, at + n, end - at - n);
        ++live_;
        free_granules_ -= n;
        return {at << plan_.shift, live};
    }

    // carve() for the latest range of a size below kExact, from its start, where no other
    // alignment has an index: without a branch that depends on whether something is left. If
    // not, the dump takes what is written.
    RangeHandle cut(u32 size, u32 n) {
        const u32 f = sizes_.head(size);
        const u32 i = frees_[f].node;
        Node& node = nodes_[i];
        const u32 back = size - n;
        const bool some = back != 0;
        const u64 at = node.start;
        const u32 after = node.next;
        sizes_.remove_if(true, f, size);
        const u32 rest = nodes_.make(at + n, some);
        const u32 number = some ? f : 0;
        node.set_live(n);
        node.next = some ? rest : after;
        nodes_[some ? after : kDump].prev = rest;
        Node& behind = nodes_[rest];
        behind.set_free(number);
        behind.prev = i;
        behind.next = after;
        frees_[number].size = static_cast<Word>(back);
        frees_[number].node = rest;
        sizes_.insert_if(some, number, back);
        stack_[unused_ + 1] = f;
        unused_ += !some;
        ++live_;
        free_granules_ -= n;
        return {at << plan_.shift, i};
    }

    // The live range `i` becomes free and merges with what is free beside it.
    u64 give_back(u32 i) {
        Node& node = nodes_[i];
        const u64 n = node.live_size();
        const u32 before = node.prev;
        const u32 after = node.next;
        --live_;
        free_granules_ += n;
        // Whether they are free is as good as random: no branch depends on it.
        const bool left = !nodes_[before].live();
        const bool right = !nodes_[after].live();
        const u32 left_free = left ? nodes_[before].free_range() : 0;
        const u32 right_free = right ? nodes_[after].free_range() : 0;
        const u64 left_size = frees_[left_free].size;
        const u64 right_size = frees_[right_free].size;
        const u64 size = left_size + n + right_size;
        const bool exact = size < kExact && plan_.aligns == 0;
        if (exact) [[likely]] {
            sizes_.remove_if(left, left_free, static_cast<u32>(left_size));
            sizes_.remove_if(right, right_free, static_cast<u32>(right_size));
        } else {
            if (left) unindex(left_free);
            if (right) unindex(right_free);
        }
        // One number for the whole: the left one's, the right one's or a new one.
        const u32 fresh = stack_[unused_];
        const u32 f = left ? left_free : right ? right_free : fresh;
        unused_ -= !(left | right);
        stack_[unused_ + 1] = right_free;
        unused_ += left & right;
        const u32 whole = left ? before : i;
        const u32 next = right ? nodes_[after].next : after;
        nodes_.drop(left ? i : kDump);
        nodes_.drop(right ? after : kDump);
        nodes_[whole].set_free(f);
        nodes_[whole].next = next;
        nodes_[next].prev = whole;
        frees_[f].node = whole;
        frees_[f].size = static_cast<Word>(size);
        if (exact) [[likely]]
            sizes_.insert_if(true, f, static_cast<u32>(size));
        else
            index(f);
        return n << plan_.shift;
    }

    Result<u64> resize(u32 i, u64 size) {
        if (size == 0) return Error::invalid;
        const u64 start = nodes_[i].start;
        const u64 old = nodes_[i].live_size();
        const u64 n = granules(size);
        const u32 after = nodes_[i].next;
        const bool room = !nodes_[after].live();
        const u64 both = old + (room ? size_of_node(after) : 0);
        if (n > both) return Error::cannot_grow;
        if (n == old) return n << plan_.shift;
        if (room) remove_free(after);
        nodes_[i].set_live(n);
        if (n != both) add_free(i, start + n, both - n);
        free_granules_ += old - n;
        return n << plan_.shift;
    }

    Result<RangeHandle> allocate_aligned(u64 n, u64 align) {
        for (unsigned k = 0; k < plan_.aligns; ++k) {
            if (plan_.align[k] != align) continue;
            const u32 best = aligned_[k].find(n);
            if (best == 0) return Error::pool_full;
            return carve(best, aligned(k).first_of(best), n);
        }
        const auto fits = [&](u32 f) {
            const u64 start = nodes_[frees_[f].node].start;
            const u64 at = round_up(start, align);
            return at - start < frees_[f].size && start + frees_[f].size - at >= n;
        };
        u32 best = sizes_.first_of(n, kCandidates, fits);
        if (best == 0 && n + align - 1 <= plan_.capacity) best = sizes_.find(n + align - 1);
        // Room at a larger alignment is room at this one.
        for (unsigned k = 0; best == 0 && k < plan_.aligns; ++k)
            if (plan_.align[k] > align) best = aligned_[k].find(n);
        if (best == 0) return Error::pool_full;
        return carve(best, round_up(nodes_[frees_[best].node].start, align), n);
    }

    // ---- making, growing ----

    void start_over() {
        nodes_.attach(records_, plan_.nodes, plan_.granule_bits());
        nodes_.clear();
        frees_ = reinterpret_cast<Free*>(records_ + plan_.frees_at());
        frees_[0].size = 0;
        stack_ = reinterpret_cast<u32*>(records_ + plan_.stack_at());
        unused_ = 0;
        for (u32 f = static_cast<u32>(plan_.frees()) - 1; f > 0; --f) release_number(f);
        attach_sizes();
        live_ = 0;
        free_granules_ = 0;
        const u64 capacity = plan_.capacity;
        plan_.capacity = 0;
        extend(capacity);
    }
    // The tables are zeroed.
    void attach_sizes() {
        sizes_.attach(Records{frees_}, tables_, plan_.max_capacity, plan_.number_bits());
        for (unsigned k = 0; k < plan_.aligns; ++k)
            aligned_[k].attach(aligned(k), tables_ + plan_.sizes_at(1 + k), plan_.max_capacity,
                               plan_.number_bits());
    }
    // The space ends at `end` granules, which is more than before and covered by the tables.
    void extend(u64 end) {
        const u64 more = end - plan_.capacity;
        const u32 last = nodes_[0].prev;
        if (last != 0 && !nodes_[last].live())
            resize_free(last, size_of_node(last) + more);
        else
            add_free(last, plan_.capacity, more);
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
    u32 live_ = 0, unused_ = 0;
    u64 free_granules_ = 0;
    char* records_ = nullptr;  // one block: the node table, free ranges, their numbers, links
    char* tables_ = nullptr;   // one block: the indices by size
    Free* frees_ = nullptr;
    u32* stack_ = nullptr;
    NodeTable<Word, Steps> nodes_;
    Sizes sizes_;
    SizeIndex<Aligned, Steps> aligned_[kRangeAligns];
};

}  // namespace quarry

#include "range_audit.hpp"
