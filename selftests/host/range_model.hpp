// SPDX-License-Identifier: MIT
//
// RangeAllocator against a naive model: a map of all ranges by offset, searched from end to
// end. One step is one call with arguments from pick(n), a number below n; every answer is
// compared with what the map says must come. For random streams and for the fuzzer.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../../module/core/range/range_allocator.hpp"
#include "host_platform.hpp"

namespace quarry {

template <typename Word = u64>
class RangeModel {
public:
    using P = HostPlatform;

    explicit RangeModel(const RangeShape& shape) : shape_(shape), capacity_(shape.capacity) {
        if (!ok(ranges_.init(shape))) error_ = "init failed";
        else items_[0] = {capacity_, false, 0};
    }

    const std::string& error() const { return error_; }
    u64 successes() const { return successes_; }

    template <typename Pick>
    bool step(Pick&& pick) {
        if (!error_.empty()) return false;
        switch (pick(24)) {
        case 0: case 1: case 2: case 3: case 4: case 5: case 6:
            return allocate(some_size(pick), 1);
        case 7: case 8: case 9: case 10:
            return allocate(some_size(pick), shape_.granule << pick(7));
        case 11: case 12: case 13: case 14:
            return free_live(pick(~u32{0}), pick(2));
        case 15: case 16:
            return free_any(pick(2 * capacity_ / least()) * least() + (pick(4) ? 0 : pick(least())));
        case 17: case 18: case 19: case 20:
            return reallocate(pick(~u32{0}), some_size(pick), pick(2));
        case 21:
            return grow(pick);
        case 22:
            return shrink((pick(capacity_ / shape_.granule) + pick(2)) * shape_.granule);
        default:
            return pick(64) ? stale_handle(pick(~u32{0})) : reset();
        }
    }

    bool verify() {
        if (!error_.empty()) return false;
        Audit audit;
        ranges_.verify(audit);
        if (!audit.clean()) return fail(audit.result().first, audit.result().first_offset);
        u64 free_bytes = 0, largest = 0, frees = 0, live = 0;
        u64 at = 0;
        for (const auto& [offset, item] : items_) {
            const auto here = ranges_.range_at(offset + item.size / 2);
            if (!here || here->offset != offset || here->size != item.size || here->live != item.live)
                return fail("range_at differs", offset);
            if (offset != at) return fail("the model has a gap", offset);
            at += item.size;
            if (item.live) {
                ++live;
                if (*ranges_.size_of(offset) != item.size) return fail("size_of differs", offset);
                continue;
            }
            ++frees;
            free_bytes += item.size;
            largest = std::max(largest, item.size);
        }
        const RangeReport r = ranges_.report();
        if (r.capacity != capacity_ || r.capacity != ranges_.capacity() || at != capacity_)
            return fail("capacity differs", at);
        if (r.free_bytes != free_bytes || ranges_.total_available() != free_bytes)
            return fail("total_available differs", free_bytes);
        if (r.largest != largest) return fail("largest_available differs", largest);
        if (r.free_ranges != frees || r.live != live) return fail("the counts differ", frees);
        if (ranges_.is_empty() != (live == 0)) return fail("is_empty differs", live);
        u64 listed = 0;
        ranges_.for_each_free([&](const RangeView& v) {
            const auto item = items_.find(v.offset);
            if (item != items_.end() && !item->second.live && item->second.size == v.size) ++listed;
        });
        ranges_.for_each_live([&](const RangeView& v) {
            const auto item = items_.find(v.offset);
            if (item != items_.end() && item->second.live && item->second.size == v.size) ++listed;
        });
        if (listed != items_.size()) return fail("the iteration differs", listed);
        u64 by_size = 0;
        ranges_.for_each_free_size([&](u64, u64 ranges) { by_size += ranges; });
        return by_size == frees || fail("the report by size differs", by_size);
    }

    RangeAllocator<P, Word>& ranges() { return ranges_; }

    bool allocate(u64 size, u64 align) {
        const u64 n = round_up(size, shape_.granule);
        const bool declared = is_declared(align);
        // What must be taken: the least room, counted as the index of this alignment does.
        u64 least = ~u64{0}, largest = 0;
        for (const auto& [offset, item] : items_) {
            if (item.live) continue;
            const u64 room = room_of(offset, item.size, align);
            if (room >= n && room < least) least = room;
            largest = std::max(largest, item.size);
        }
        const auto got = ranges_.allocate(size, align);
        // What is wrong with the request comes before what is wrong with the moment.
        if (n > capacity_) return got.error() == Error::too_large || fail("not too_large", size);
        if (live() >= shape_.max_live)
            return got.error() == Error::out_of_nodes || fail("more live than may be", size);
        if (!got) {
            if (got.error() != Error::pool_full) return fail("not pool_full", size);
            if (declared ? least != ~u64{0} : largest >= n + align - shape_.granule)
                return fail("a range with room was not taken", size);
            return true;
        }
        ++successes_;
        auto holder = items_.upper_bound(got->offset);
        if (holder == items_.begin()) return fail("an offset before all", got->offset);
        --holder;
        const auto [offset, item] = *holder;
        if (item.live || got->offset + n > offset + item.size)
            return fail("what was given is not free", got->offset);
        if (got->offset % align) return fail("misaligned", got->offset);
        if (declared && room_of(offset, item.size, align) != least)
            return fail("not the best fit", got->offset);
        if (got->offset != round_up(offset, align)) return fail("not the first place", got->offset);
        items_.erase(holder);
        if (got->offset != offset) items_[offset] = {got->offset - offset, false, 0};
        items_[got->offset] = {n, true, got->node};
        const u64 end = got->offset + n;
        if (end != offset + item.size) items_[end] = {offset + item.size - end, false, 0};
        return true;
    }

    // The k-th live range, by offset or by handle.
    bool free_live(u64 k, bool by_handle) {
        const auto it = nth_live(k);
        if (it == items_.end()) return true;
        const auto done = by_handle ? ranges_.free(RangeHandle{it->first, it->second.node})
                                    : ranges_.free(it->first);
        if (!done || *done != it->second.size) return fail("a right free is refused", it->first);
        ++successes_;
        const u64 offset = it->first;
        became_free(it);
        const Error again = ranges_.free(offset).error();
        return again == Error::already_free || fail("a second free is not already_free", offset);
    }

    // Whatever the offset is.
    bool free_any(u64 offset) {
        Error want;
        auto it = items_.end();
        if (offset >= capacity_) {
            want = Error::out_of_range;
        } else if (offset % shape_.granule) {
            want = Error::misaligned;
        } else {
            it = std::prev(items_.upper_bound(offset));
            want = !it->second.live ? Error::already_free
                   : it->first != offset ? Error::not_object : Error::none;
        }
        if (ranges_.size_of(offset).error() != want) return fail("size_of: another error", offset);
        if (ranges_.find(offset).error() != want) return fail("find: another error", offset);
        if (!ok(want) && ranges_.try_reallocate(offset, 1).error() != want)
            return fail("try_reallocate: another error", offset);
        if (ranges_.free(offset).error() != want) return fail("free: another error", offset);
        if (ok(want)) became_free(it);
        return true;
    }

    bool reallocate(u64 k, u64 size, bool by_handle) {
        const auto it = nth_live(k);
        if (it == items_.end()) return true;
        const u64 n = round_up(size, shape_.granule);
        const auto behind = std::next(it);
        const bool room = behind != items_.end() && !behind->second.live;
        const u64 both = it->second.size + (room ? behind->second.size : 0);
        const auto got = by_handle
                             ? ranges_.try_reallocate(RangeHandle{it->first, it->second.node}, size)
                             : ranges_.try_reallocate(it->first, size);
        if (n > both)
            return got.error() == Error::cannot_grow || fail("grown over a neighbour", it->first);
        if (!got || *got != n) return fail("not resized in place", it->first);
        ++successes_;
        if (room) items_.erase(behind);
        it->second.size = n;
        if (n != both) items_[it->first + n] = {both - n, false, 0};
        return true;
    }

    bool shrink(u64 bytes) {
        const auto last = std::prev(items_.end());
        const Error want = bytes == 0 || bytes >= capacity_ ? Error::invalid
                           : last->second.live || last->first > bytes ? Error::busy : Error::none;
        if (ranges_.shrink_capacity(bytes) != want) return fail("shrink: another answer", bytes);
        if (!ok(want)) return true;
        capacity_ = bytes;
        if (last->first == bytes) items_.erase(last);
        else last->second.size = bytes - last->first;
        return true;
    }

    template <typename Pick>
    bool grow(Pick&& pick) {
        const u64 bytes = capacity_ + (1 + pick(8)) * shape_.granule;
        if (bytes > 2 * shape_.capacity) return true;
        if (bytes > ranges_.max_capacity()) {
            if (ranges_.grow_capacity(bytes) != Error::no_memory) return fail("grown beyond", bytes);
            const u64 need = *ranges_.required_growth_bytes(bytes);
            void* tables = P::meta_alloc(need, Context::may_sleep);
            if (!ok(ranges_.grow_capacity(bytes, tables))) return fail("not grown", bytes);
        } else if (!ok(ranges_.grow_capacity(bytes))) {
            return fail("not grown in place", bytes);
        }
        const auto last = std::prev(items_.end());
        if (last->second.live) items_[capacity_] = {bytes - capacity_, false, 0};
        else last->second.size += bytes - capacity_;
        capacity_ = bytes;
        return true;
    }

    bool reset() {
        ranges_.reset();
        items_.clear();
        items_[0] = {capacity_, false, 0};
        return true;
    }

private:
    struct Item {
        u64 size;
        bool live;
        u32 node;
    };
    using Items = std::map<u64, Item>;
    using Iterator = typename Items::iterator;

    u64 least() const { return shape_.granule; }
    template <typename Pick>
    u64 some_size(Pick&& pick) {
        const u64 most = 4 * shape_.granule << pick(6);
        return 1 + pick(std::min(most, capacity_ + shape_.granule));
    }
    bool is_declared(u64 align) const {
        if (align <= shape_.granule) return true;
        for (const u64 a : shape_.aligns)
            if (a == align) return true;
        return false;
    }
    static u64 room_of(u64 offset, u64 size, u64 align) {
        const u64 first = round_up(offset, align);
        return first < offset + size ? offset + size - first : 0;
    }
    u64 live() const {
        u64 n = 0;
        for (const auto& [offset, item] : items_) n += item.live;
        return n;
    }
    Iterator nth_live(u64 k) {
        const u64 n = live();
        if (n == 0) return items_.end();
        k %= n;
        for (auto it = items_.begin();; ++it)
            if (it->second.live && k-- == 0) return it;
    }
    void became_free(Iterator it) {
        it->second.live = false;
        if (const auto behind = std::next(it); behind != items_.end() && !behind->second.live) {
            it->second.size += behind->second.size;
            items_.erase(behind);
        }
        if (it == items_.begin()) return;
        if (const auto before = std::prev(it); !before->second.live) {
            before->second.size += it->second.size;
            items_.erase(it);
        }
    }
    // A handle whose node is another's, and one whose node is none.
    bool stale_handle(u64 k) {
        const auto it = nth_live(k);
        if (it == items_.end()) return true;
        const u32 wrong[] = {0, 1, static_cast<u32>(ranges_.nodes()), ~u32{0},
                             (it->second.node + 1) % static_cast<u32>(ranges_.nodes())};
        for (const u32 node : wrong)
            if (node != it->second.node &&
                ranges_.free(RangeHandle{it->first, node}).error() != Error::not_found)
                return fail("a foreign handle is not not_found", it->first);
        const Error inner = ranges_.free(RangeHandle{it->first + 1, it->second.node}).error();
        const Error want = it->first + 1 >= capacity_ ? Error::out_of_range
                           : shape_.granule > 1 ? Error::misaligned
                           : it->second.size > 1 ? Error::not_object : inner;
        if (inner == Error::none && want == inner) return fail("a wrong handle frees", it->first);
        return inner == want || fail("a handle inside a range: another error", it->first);
    }
    bool fail(const char* what, u64 where) {
        error_ = std::string(what) + " (" + std::to_string(where) + ")";
        return false;
    }

    RangeShape shape_;
    u64 capacity_;
    u64 successes_ = 0;
    RangeAllocator<P, Word> ranges_;
    Items items_;
    std::string error_;
};

}  // namespace quarry
