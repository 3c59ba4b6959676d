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
// a head or a word of a bitmap. init, reset, grow_capacity with tables: O(metadata).
// Metadata: 68 bytes for each of max_live twice (72 to 88 with declared alignments, 8 each),
// 8 to 16 more for each of max_live, at most 30 KiB of heads by size for each index.
//
// Context: any, but init and grow_capacity with tables (task). One caller at a time: whoever
// shares it holds a lock, for step_bound() steps at most. The types of the two indices say
// how they work: size_index.hpp, offset_index.hpp. (Best fit and boundary tags: Knuth 1968,
// volume 1, 2.5.)
#pragma once

#include "../base/audit.hpp"
#include "../platform/platform.hpp"
#include "range_shape.hpp"

namespace quarry {

template <Platform P, typename Steps>
class RangeAudit;

template <Platform P, typename Steps = NoSteps>
class RangeAllocator {
    struct Ranges {
        RangeNode* nodes;
        u64 size_of(u32 node) const { return nodes[node].size(); }
        u32* link(u32 node) const { return nodes[node].link; }
    };
    // By what is left of a range behind its first aligned granule.
    struct AlignedRanges {
        RangeNode* nodes;
        u32 (*links)[2];
        u64 align;  // granules
        u64 first_of(u32 node) const { return round_up(nodes[node].start, align); }
        u64 size_of(u32 node) const {
            const u64 first = first_of(node);
            const u64 end = nodes[node].end();
            return end > first ? end - first : 0;
        }
        u32* link(u32 node) const { return links[node]; }
    };
    using Plan = RangePlan<Ranges, AlignedRanges, Steps>;

public:
    RangeAllocator() = default;
    ~RangeAllocator() {
        if (!nodes_) return;
        P::meta_free(nodes_, plan_.nodes_bytes());
        P::meta_free(tables_, plan_.tables_bytes());
    }
    RangeAllocator(const RangeAllocator&) = delete;
    RangeAllocator& operator=(const RangeAllocator&) = delete;

    // ---- making, growing ----

    // Exactly what init takes from the platform. Errors: invalid, too_large.
    static Result<u64> required_meta_bytes(const RangeShape& shape) {
        const auto plan = Plan::of(shape);
        if (!plan) return plan.error();
        return plan->nodes_bytes() + plan->tables_bytes();
    }

    // Takes the metadata; all of the capacity is one free range. Errors: invalid, too_large,
    // initialised, no_memory; then nothing has changed. Context: task.
    Error init(const RangeShape& shape) {
        if (nodes_) return Error::initialised;
        const auto plan = Plan::of(shape);
        if (!plan) return plan.error();
        void* nodes = P::meta_alloc(plan->nodes_bytes(), Context::may_sleep);
        if (!nodes) return Error::no_memory;
        void* tables = P::meta_alloc(plan->tables_bytes(), Context::may_sleep);
        if (!tables) {
            P::meta_free(nodes, plan->nodes_bytes());
            return Error::no_memory;
        }
        plan_ = *plan;
        nodes_ = static_cast<RangeNode*>(nodes);
        tables_ = tables;
        attach();
        start_over();
        return Error::none;
    }

    // All ranges are gone, the capacity stays. O(metadata). Context: any.
    void reset() {
        if (!nodes_) return;
        for (u64 i = 0; i < plan_.all_nodes(); ++i) nodes_[i].word = 0;
        auto* words = static_cast<u64*>(tables_);
        for (u64 i = 0; i < plan_.tables_bytes() / sizeof(u64); ++i) words[i] = 0;
        attach();
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
        return grown(bytes).tables_bytes();
    }
    // The same to any capacity, which becomes the max_capacity: `tables` are of exactly
    // required_growth_bytes(bytes), zeroed, from P::meta_alloc; they become the allocator's,
    // and the old ones are freed. Live ranges, handles and nodes stay what they are. Errors:
    // uninitialised, invalid, too_large; then `tables` stays the caller's. O(nodes).
    Error grow_capacity(u64 bytes, void* tables) {
        if (Error e = check_growth(bytes); !ok(e)) return e;
        if (!tables) return Error::no_memory;
        P::meta_free(tables_, plan_.tables_bytes());
        tables_ = tables;
        plan_ = grown(bytes);
        attach();
        for (u32 i = nodes_[0].next; i != 0; i = nodes_[i].next) {
            if (nodes_[i].live())
                offsets_.insert(i, nodes_[i].start);
            else
                index(i);
        }
        extend(bytes >> plan_.shift);
        return Error::none;
    }

    // Gives the end of the space back. Errors: uninitialised, invalid (0, not smaller, no
    // multiple of the granule), busy (a live range reaches into it); then nothing has changed.
    Error shrink_capacity(u64 bytes) {
        if (!nodes_) return Error::uninitialised;
        const u64 end = bytes >> plan_.shift;
        if (end == 0 || bytes & granule_mask() || end >= plan_.capacity) return Error::invalid;
        const u32 last = nodes_[0].prev;
        RangeNode& tail = nodes_[last];
        if (tail.live() || tail.start > end) return Error::busy;
        unindex(last);
        free_granules_ -= plan_.capacity - end;
        if (tail.start == end) {
            unlink(last);
            release(last);
        } else {
            tail.set(end - tail.start, false);
            index(last);
        }
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
        return carve(best, nodes_[best].start, n);
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
    // Errors: those of free; invalid (size 0), cannot_grow (the range behind is not free, or
    // too small).
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
        return nodes_[handle.node].size() << plan_.shift;
    }
    Result<u64> size_of(Offset offset) const {
        const u32 node = live_at(offset);
        if (node == 0) return wrong_offset(offset);
        return nodes_[node].size() << plan_.shift;
    }
    // The handle of the live range that starts at `offset`. Errors: those of free.
    Result<RangeHandle> find(Offset offset) const {
        const u32 node = live_at(offset);
        if (node == 0) return wrong_offset(offset);
        return RangeHandle{offset, node};
    }
    // The range, live or free, that holds this byte: so whoever iterates in steps can let go
    // of the lock between, and go on at offset + size. Errors: out_of_range, uninitialised.
    Result<RangeView> range_at(Offset offset) const {
        if (!nodes_) return Error::uninitialised;
        if (offset >= capacity()) return Error::out_of_range;
        return view(holder(offset >> plan_.shift));
    }

    // Bytes. All of these: O(1), largest_available O(log).
    u64 capacity() const { return plan_.capacity << plan_.shift; }
    u64 max_capacity() const { return plan_.max_capacity << plan_.shift; }
    u64 granule() const { return u64{1} << plan_.shift; }
    u64 total_available() const { return free_granules_ << plan_.shift; }
    u64 largest_available() const {
        if (!nodes_) return 0;
        const u32 node = sizes_.greatest();
        return node ? nodes_[node].size() << plan_.shift : 0;
    }
    bool is_empty() const { return live_ == 0; }
    u64 live() const { return live_; }
    u64 max_live() const { return plan_.max_live; }
    u64 nodes() const { return plan_.nodes; }
    u64 meta_bytes() const { return nodes_ ? plan_.nodes_bytes() + plan_.tables_bytes() : 0; }

    RangeReport report() const {
        return {capacity(),  total_available(), largest_available(),
                free_ranges_, live_,             plan_.max_live};
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
        u32 last = 0;
        u64 ranges = 0;
        const auto tell = [&] {
            if (ranges) fn(decltype(sizes_)::least_of(last) << plan_.shift, ranges);
        };
        if (!nodes_) return;
        sizes_.for_each(free_ranges_, [&](u32, u32 bin) {
            if (bin != last) {
                tell();
                last = bin;
                ranges = 0;
            }
            ++ranges;
        });
        tell();
    }

    // Most steps that one call can take, of those that are O(log).
    u64 step_bound() const {
        const u64 by_size =
            4 + 2 * SizeIndex<Ranges, Steps>::depth_for(plan_.max_capacity, plan_.number_bits());
        const u64 by_offset = 2 * u64{offsets_.depth()} + 16;
        return 16 + (1 + plan_.aligns) * 4 * by_size + 2 * by_offset;
    }

    // Compares everything with everything. O(metadata). Context: any, long.
    void verify(Audit& audit) const { RangeAudit<P, Steps>(*this, audit).run(); }

private:
    friend class RangeAudit<P, Steps>;

    static constexpr unsigned kCandidates = 8;
    static constexpr u64 kExact = SizeIndex<Ranges, Steps>::kExact;

    u64 granule_mask() const { return (u64{1} << plan_.shift) - 1; }
    // size is 1 at least.
    u64 granules(u64 size) const { return ((size - 1) >> plan_.shift) + 1; }

    // ---- what is asked wrongly ----

    Error wrong_request(u64 size, u64 align) const {
        if (!nodes_) return Error::uninitialised;
        if (size == 0 || !is_power_of_two(align)) return Error::invalid;
        return Error::too_large;
    }
    // Why no live range starts at `offset`.
    Error wrong_offset(Offset offset) const {
        if (!nodes_) return Error::uninitialised;
        if (offset >= capacity()) return Error::out_of_range;
        if (offset & granule_mask()) return Error::misaligned;
        return nodes_[holder(offset >> plan_.shift)].live() ? Error::not_object
                                                            : Error::already_free;
    }
    Error wrong_handle(RangeHandle handle) const {
        return live_at(handle.offset) ? Error::not_found : wrong_offset(handle.offset);
    }

    // ---- look-ups ----

    bool names(RangeHandle h) const {
        if (h.node > plan_.nodes || h.node == 0) return false;
        const RangeNode& node = nodes_[h.node];
        return node.live() && node.start << plan_.shift == h.offset;
    }
    u32 live_at(Offset offset) const {
        if (offset >= capacity() || offset & granule_mask()) return 0;
        return offsets_.find(offset >> plan_.shift);
    }
    // The node, live or free, that holds this granule.
    u32 holder(u64 granule) const {
        const u32 before = offsets_.at_most(granule);
        if (granule < nodes_[before].end() && before != 0) return before;
        return nodes_[before].next;
    }
    RangeView view(u32 i) const {
        const RangeNode& node = nodes_[i];
        return {node.start << plan_.shift, node.size() << plan_.shift, node.live()};
    }
    template <typename Fn>
    void for_each(bool live, Fn&& fn) const {
        if (!nodes_) return;
        for (u32 i = nodes_[0].next; i != 0; i = nodes_[i].next)
            if (nodes_[i].live() == live) fn(view(i));
    }

    // ---- nodes ----

    u32 dump() const { return plan_.nodes + 1; }
    u32 take_node() { return stack_[--unused_]; }
    void release(u32 i) {
        nodes_[i].word = 0;
        stack_[unused_++] = i;
    }
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
    void index(u32 i) {
        ++free_ranges_;
        sizes_.insert(i, nodes_[i].size());
        for (unsigned k = 0; k < plan_.aligns; ++k)
            if (const u64 room = aligned_ranges(k).size_of(i)) aligned_[k].insert(i, room);
    }
    void unindex(u32 i) {
        --free_ranges_;
        sizes_.remove(i, nodes_[i].size());
        for (unsigned k = 0; k < plan_.aligns; ++k)
            if (const u64 room = aligned_ranges(k).size_of(i)) aligned_[k].remove(i, room);
    }
    AlignedRanges aligned_ranges(unsigned k) const {
        auto* links = reinterpret_cast<char*>(nodes_) + plan_.links_at() + k * plan_.links_bytes();
        return {nodes_, reinterpret_cast<u32(*)[2]>(links), plan_.align[k]};
    }

    // ---- the work ----

    // [at, at + n) of the free range `i` becomes live; what is left on both sides stays free.
    RangeHandle carve(u32 i, u64 at, u64 n) {
        const u64 start = nodes_[i].start;
        const u64 back = nodes_[i].end() - at - n;
        unindex(i);
        u32 live = i;
        if (at != start) {
            live = take_node();
            link_after(i, live);
            nodes_[i].set(at - start, false);
            index(i);
        }
        nodes_[live].start = at;
        nodes_[live].set(n, true);
        if (back != 0) {
            const u32 rest = take_node();
            nodes_[rest].start = at + n;
            nodes_[rest].set(back, false);
            link_after(live, rest);
            index(rest);
        }
        offsets_.insert(live, at);
        ++live_;
        free_granules_ -= n;
        return {at << plan_.shift, live};
    }

    // carve() for the latest range of a size below kExact, from its start, where no other
    // alignment has an index: without a branch that depends on whether something is left. If
    // not, the dump takes what is written.
    RangeHandle cut(u32 size, u32 n) {
        const u32 i = sizes_.head(size);
        RangeNode& node = nodes_[i];
        const u32 back = size - n;
        const bool some = back != 0;
        const u64 at = node.start;
        const u32 after = node.next;
        sizes_.remove_if(true, i, size);
        unused_ -= some;
        const u32 rest = some ? stack_[unused_] : dump();
        node.set(n, true);
        node.next = some ? rest : after;
        *(some ? &nodes_[after].prev : &nodes_[rest].prev) = rest;
        nodes_[rest].start = at + n;
        nodes_[rest].set(back, false);
        nodes_[rest].prev = i;
        nodes_[rest].next = after;
        sizes_.insert_if(some, rest, back);
        free_ranges_ -= !some;
        offsets_.insert(i, at);
        ++live_;
        free_granules_ -= n;
        return {at << plan_.shift, i};
    }

    // The live range `i` becomes free and merges with what is free beside it.
    u64 give_back(u32 i) {
        RangeNode& node = nodes_[i];
        const u64 n = node.size();
        const u32 before = node.prev;
        const u32 after = node.next;
        offsets_.remove(i, node.start);
        --live_;
        free_granules_ += n;
        // Whether they are free is as good as random: no branch depends on it.
        const bool left = !nodes_[before].live();
        const bool right = !nodes_[after].live();
        const u64 left_size = nodes_[before].size() & (0 - u64{left});
        const u64 right_size = nodes_[after].size() & (0 - u64{right});
        const u64 size = left_size + n + right_size;
        const bool exact = size < kExact && plan_.aligns == 0;
        if (exact) [[likely]] {
            sizes_.remove_if(left, before, static_cast<u32>(left_size));
            sizes_.remove_if(right, after, static_cast<u32>(right_size));
            free_ranges_ += 1 - u64{left} - u64{right};
        } else {
            if (left) unindex(before);
            if (right) unindex(after);
        }
        const u32 whole = left ? before : i;
        const u32 next = right ? nodes_[after].next : after;
        node.word = 0;
        nodes_[right ? after : dump()].word = 0;
        nodes_[whole].set(size, false);
        nodes_[whole].next = next;
        nodes_[next].prev = whole;
        stack_[unused_] = i;
        unused_ += left;
        stack_[unused_] = after;
        unused_ += right;
        if (exact) [[likely]]
            sizes_.insert_if(true, whole, static_cast<u32>(size));
        else
            index(whole);
        return n << plan_.shift;
    }

    Result<u64> resize(u32 i, u64 size) {
        if (size == 0) return Error::invalid;
        RangeNode& node = nodes_[i];
        const u64 old = node.size();
        const u64 n = granules(size);
        const u32 after = node.next;
        const bool room = !nodes_[after].live();
        const u64 both = old + (room ? nodes_[after].size() : 0);
        if (n > both) return Error::cannot_grow;
        if (n == old) return n << plan_.shift;
        u32 rest = after;
        if (room)
            unindex(after);
        else
            link_after(i, rest = take_node());
        node.set(n, true);
        if (both == n) {
            unlink(rest);
            release(rest);
        } else {
            nodes_[rest].start = node.start + n;
            nodes_[rest].set(both - n, false);
            index(rest);
        }
        free_granules_ += old - n;
        return n << plan_.shift;
    }

    Result<RangeHandle> allocate_aligned(u64 n, u64 align) {
        for (unsigned k = 0; k < plan_.aligns; ++k) {
            if (plan_.align[k] != align) continue;
            const u32 best = aligned_[k].find(n);
            if (best == 0) return Error::pool_full;
            return carve(best, aligned_ranges(k).first_of(best), n);
        }
        const auto fits = [&](u32 i) {
            const u64 at = round_up(nodes_[i].start, align);
            return at < nodes_[i].end() && nodes_[i].end() - at >= n;
        };
        u32 best = sizes_.first_of(n, kCandidates, fits);
        if (best == 0 && n + align - 1 <= plan_.capacity) best = sizes_.find(n + align - 1);
        // Room at a larger alignment is room at this one.
        for (unsigned k = 0; best == 0 && k < plan_.aligns; ++k)
            if (plan_.align[k] > align) best = aligned_[k].find(n);
        if (best == 0) return Error::pool_full;
        return carve(best, round_up(nodes_[best].start, align), n);
    }

    // ---- making, growing ----

    void attach() {
        auto* tables = static_cast<char*>(tables_);
        offsets_.attach(nodes_, tables, plan_.buckets);
        sizes_.attach(Ranges{nodes_}, tables + plan_.sizes_at(), plan_.max_capacity,
                      plan_.number_bits());
        for (unsigned k = 0; k < plan_.aligns; ++k)
            aligned_[k].attach(aligned_ranges(k), tables + plan_.aligned_at(k),
                               plan_.max_capacity, plan_.number_bits());
        stack_ = reinterpret_cast<u32*>(reinterpret_cast<char*>(nodes_) + plan_.stack_at());
        free_ranges_ = 0;
    }
    void start_over() {
        nodes_[0].start = ~u64{0};
        nodes_[0].set(0, true);
        nodes_[0].prev = nodes_[0].next = 0;
        for (u32 i = 0; i < plan_.nodes; ++i) stack_[i] = plan_.nodes - i;
        unused_ = plan_.nodes;
        live_ = 0;
        free_granules_ = 0;
        const u64 capacity = plan_.capacity;
        plan_.capacity = 0;
        extend(capacity);
    }
    // The space ends at `end` granules, which is more than before and covered by the tables.
    void extend(u64 end) {
        const u64 more = end - plan_.capacity;
        const u32 last = nodes_[0].prev;
        if (last != 0 && !nodes_[last].live()) {
            unindex(last);
            nodes_[last].set(nodes_[last].size() + more, false);
            index(last);
        } else {
            const u32 tail = take_node();
            nodes_[tail].start = plan_.capacity;
            nodes_[tail].set(more, false);
            link_after(last, tail);
            index(tail);
        }
        plan_.capacity = end;
        free_granules_ += more;
    }
    Error check_growth(u64 bytes) const {
        if (!nodes_) return Error::uninitialised;
        if (bytes <= capacity() || bytes & granule_mask()) return Error::invalid;
        return bytes >> plan_.shift > Plan::kMostGranules ? Error::too_large : Error::none;
    }
    Plan grown(u64 bytes) const {
        Plan plan = plan_;
        const u64 end = bytes >> plan_.shift;
        plan.cover(end > plan.max_capacity ? end : plan.max_capacity);
        return plan;
    }

    Plan plan_{};
    RangeNode* nodes_ = nullptr;
    u32* stack_ = nullptr;  // numbers of unused nodes
    u32 unused_ = 0;
    u32 live_ = 0;
    u64 free_granules_ = 0;
    u64 free_ranges_ = 0;
    void* tables_ = nullptr;
    OffsetIndex<Steps> offsets_;
    SizeIndex<Ranges, Steps> sizes_;
    SizeIndex<AlignedRanges, Steps> aligned_[kRangeAligns];
};

}  // namespace quarry

#include "range_audit.hpp"
