// SPDX-License-Identifier: MIT
//
// RangeAllocator: time by the number of live ranges, by offset and by handle, and how well it
// packs. Sizes are log-uniform from 1 to 64 KiB in granules of 256 bytes. The yardstick of
// the times is glibc's hot-64; of the packing, an exhaustive best fit on the same stream.
#include <sys/mman.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "../../module/core/range/range_allocator.hpp"
#include "case.hpp"

namespace {

using bench::die;
using quarry::RangeHandle;
using quarry::RangeShape;

constexpr uint64_t kGranule = 256;

// Large metadata lies on huge pages, as the kernel's own does.
struct BenchPlatform {
    struct Lock {
        explicit Lock(quarry_lock_rank) {}
        unsigned long lock() { return 0; }
        void unlock(unsigned long) {}
    };
    static constexpr size_t kHuge = size_t{2} << 20;

    static void* meta_alloc(size_t bytes, quarry::Context) {
        const size_t align = bytes >= kHuge ? kHuge : 64;
        const size_t padded = (bytes + align - 1) / align * align;
        void* p = std::aligned_alloc(align, padded);
        if (!p) return nullptr;
        if (align == kHuge) madvise(p, padded, MADV_HUGEPAGE);
        return std::memset(p, 0, padded);
    }
    static void meta_free(void* p, size_t) { std::free(p); }
    static void meta_retire(void* p, size_t) { std::free(p); }
    static void after_readers(quarry_os_after* after, void (*fn)(quarry_os_after*)) { fn(after); }
    static unsigned pin() { return 0; }
    static void unpin() {}
    static void read_enter() {}
    static void read_leave() {}
    static unsigned cpus() { return 1; }
    static unsigned cpu() { return 0; }
    static void breathe() {}
    static uint64_t ns() { return 0; }
    static void zero(void*, uint64_t, uint64_t) {}
    static void corruption(void*, quarry_corruption, uint64_t, uint64_t) {}
    static void trace_slab_create(void*, uint32_t, uint64_t, uint64_t) {}
    static void trace_slab_destroy(void*, uint32_t, uint64_t, uint64_t) {}
    static void trace_remote_free(void*, uint32_t, uint64_t, uint32_t) {}
    static void trace_refill(void*, uint32_t, uint32_t, uint64_t) {}
    static void trace_drain(void*, uint32_t, uint32_t, uint64_t) {}
    static bool trace_timed() { return false; }
};
using Ranges = quarry::RangeAllocator<BenchPlatform, uint32_t>;

// Bytes, any number: unrounded.
uint64_t random_size(std::mt19937_64& random) {
    std::uniform_real_distribution<double> exponent(10, 16);
    return static_cast<uint64_t>(std::exp2(exponent(random)));
}
uint64_t rounded(uint64_t size) { return (size + kGranule - 1) / kGranule * kGranule; }

// The pool in which `count` ranges of expected size take 80 %.
uint64_t pool_for(uint64_t count) {
    const double mean = (65536.0 - 1024.0) / std::log(64.0) + kGranule / 2.0;
    return rounded(static_cast<uint64_t>(static_cast<double>(count) * mean / 0.80));
}

void check(const Ranges& ranges) {
    quarry::Audit audit;
    ranges.verify(audit);
    if (!audit.clean()) die(audit.result().first);
}

// ---- time ----

// What a user keeps of a range.
struct ByOffset {
    uint64_t offset;
    ByOffset() : offset(~uint64_t{0}) {}
    explicit ByOffset(RangeHandle h) : offset(h.offset) {}
    bool full() const { return offset != ~uint64_t{0}; }
    uint64_t name() const { return offset; }
};
struct ByHandle {
    RangeHandle handle{0, 0};
    ByHandle() = default;
    explicit ByHandle(RangeHandle h) : handle(h) {}
    bool full() const { return handle.node != 0; }
    RangeHandle name() const { return handle; }
};

template <uint32_t Live, typename Place>
double replace() {
    struct Step {
        uint32_t victim;
        uint32_t size;
    };
    std::mt19937_64 random(1);
    std::vector<Step> steps(1 << 16);
    for (Step& s : steps)
        s = {static_cast<uint32_t>(random() % Live), static_cast<uint32_t>(random_size(random))};

    Ranges ranges;
    if (!ok(ranges.init({.capacity = pool_for(Live), .granule = kGranule, .max_live = Live})))
        die("no ranges");
    // A place whose range did not fit is empty until its next turn.
    std::vector<Place> live(Live);
    for (auto& place : live)
        if (const auto got = ranges.allocate(random_size(random))) place = Place(*got);
    uint64_t refused = 0;
    uint64_t done = 0;
    const double ns = bench::measure(steps.size(), [&] {
        for (size_t i = 0; i < steps.size(); ++i) {
            const Step& s = steps[i];
            // Who frees has the name at hand: where it was kept is not what is measured.
            __builtin_prefetch(&live[steps[(i + 8) % steps.size()].victim]);
            Place& place = live[s.victim];
            if (place.full() && !ranges.free(place.name())) [[unlikely]]
                die("a free failed");
            const auto got = ranges.allocate(s.size);
            if (got) [[likely]] {
                place = Place(*got);
            } else {
                place = Place();
                ++refused;
            }
        }
        done += steps.size();
    });
    if (refused * 100 > done) die("more than one in a hundred did not fit");
    check(ranges);
    return ns;
}

// ---- packing ----

// Every free range is looked at; the smallest in which the request fits, the first among
// equals; at the first aligned place in it.
class Oracle {
public:
    explicit Oracle(uint64_t capacity) { free_.push_back({0, capacity}); }

    bool allocate(uint64_t size, uint64_t align, uint64_t& offset) {
        Range* best = nullptr;
        for (Range& r : free_) {
            const uint64_t at = (r.at + align - 1) / align * align;
            if (at + size <= r.at + r.size && (!best || r.size < best->size)) best = &r;
        }
        if (!best) return false;
        offset = (best->at + align - 1) / align * align;
        const Range behind{offset + size, best->at + best->size - offset - size};
        const auto at = free_.begin() + (best - free_.data());
        if (offset > best->at) {
            best->size = offset - best->at;
            if (behind.size) free_.insert(at + 1, behind);
        } else if (behind.size) {
            *best = behind;
        } else {
            free_.erase(at);
        }
        return true;
    }
    void free(uint64_t offset, uint64_t size) {
        auto next = std::lower_bound(free_.begin(), free_.end(), offset,
                                     [](const Range& r, uint64_t o) { return r.at < o; });
        if (next != free_.end() && offset + size == next->at) {
            next->at = offset;
            next->size += size;
        } else {
            next = free_.insert(next, {offset, size});
        }
        if (next == free_.begin()) return;
        const auto before = next - 1;
        if (before->at + before->size != next->at) return;
        before->size += next->size;
        free_.erase(next);
    }
    void finish() {}

private:
    struct Range {
        uint64_t at, size;
    };
    std::vector<Range> free_;
};

class Quarry {
public:
    explicit Quarry(uint64_t capacity) {
        if (!ok(ranges_.init({.capacity = capacity, .granule = kGranule,
                              .max_live = capacity / 1024, .aligns = {4096, 65536}})))
            die("no ranges");
    }
    bool allocate(uint64_t size, uint64_t align, uint64_t& offset) {
        const auto got = ranges_.allocate(size, align);
        if (got) offset = got->offset;
        return bool(got);
    }
    void free(uint64_t offset, uint64_t) {
        if (!ranges_.free(offset)) die("a free failed");
    }
    void finish() { check(ranges_); }

private:
    Ranges ranges_;
};

struct Object {
    uint64_t offset, size;
};

// Share of the pool in use when a request fails first; of ten streams, each with 60 %
// allocations and 40 % frees.
double fill() {
    double sum = 0;
    constexpr int kStreams = 10;
    for (int stream = 0; stream < kStreams; ++stream) {
        std::mt19937_64 random(stream);
        const uint64_t capacity = pool_for(10000);
        Quarry ranges(capacity);
        std::vector<Object> live;
        uint64_t used = 0;
        for (;;) {
            if (random() % 10 < 6) {
                const uint64_t size = rounded(random_size(random));
                uint64_t offset;
                if (!ranges.allocate(size, 1, offset)) break;
                live.push_back({offset, size});
                used += size;
            } else if (!live.empty()) {
                Object& victim = live[random() % live.size()];
                ranges.free(victim.offset, victim.size);
                used -= victim.size;
                victim = live.back();
                live.pop_back();
            }
        }
        ranges.finish();
        sum += static_cast<double>(used) / static_cast<double>(capacity);
    }
    return sum / kStreams;
}

// Mean share of the pool in use at a failure, over 10^5 failures; each failure is followed by
// the free of a random range.
template <typename A>
double churn(bool aligned) {
    constexpr uint64_t kAligns[] = {256, 4096, 65536};
    constexpr int kFailures = 100'000;
    const uint64_t capacity = pool_for(1000);
    A ranges(capacity);
    std::mt19937_64 random(7);
    std::vector<Object> live;
    uint64_t used = 0;
    double sum = 0;
    for (int failures = 0; failures < kFailures;) {
        const uint64_t size = rounded(random_size(random));
        const uint64_t align = aligned ? kAligns[random() % 3] : kGranule;
        const uint64_t pick = random();
        uint64_t offset;
        if (ranges.allocate(size, align, offset)) {
            live.push_back({offset, size});
            used += size;
            continue;
        }
        ++failures;
        sum += static_cast<double>(used) / static_cast<double>(capacity);
        Object& victim = live[pick % live.size()];
        ranges.free(victim.offset, victim.size);
        used -= victim.size;
        victim = live.back();
        live.pop_back();
    }
    ranges.finish();
    return sum / kFailures;
}
template <bool Aligned>
double against_oracle() { return churn<Quarry>(Aligned) / churn<Oracle>(Aligned); }

const bench::Cases range_cases{
    {"range-1k", replace<1000, ByOffset>},
    {"range-10k", replace<10000, ByOffset>},
    {"range-100k", replace<100000, ByOffset>},
    {"range-handle-1k", replace<1000, ByHandle>},
    {"range-handle-10k", replace<10000, ByHandle>},
    {"range-handle-100k", replace<100000, ByHandle>},
    {"range-fill", fill},
    {"range-churn", against_oracle<false>},
    {"range-aligned", against_oracle<true>},
};

}  // namespace
