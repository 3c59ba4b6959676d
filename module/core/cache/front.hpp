// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// HeapFront: the fast halves of a heap's alloc and free, and all that they read: the words of
// the home region's pages, and behind it, in the same block, every CPU's cache. So an address
// inside it takes no load, and the pair about sixty instructions:
//
//   alloc   the class by the size, a pop from this CPU's magazine, the live byte set
//   free    the page's word: class and live byte; this is cleared, a push. A page outside the
//           home region costs a look-up more
//
// Neither takes a lock or has a locked instruction, and neither touches a slab's header or a
// page's descriptor. What they cannot do, they leave alone, and the heap does it.
//
// Context: pinned on `cpu`; NMI too. Costs: O(1).
#pragma once

#include "../pages/region.hpp"
#include "magazine.hpp"

namespace quarry {

// What the fast half of alloc answers instead of an offset, which is a multiple of 8.
inline constexpr Offset kNoObject = QUARRY_NO_OBJECT;

template <Platform P>
class CpuCaches;

namespace front_detail {

// Place of a size's class by (size + 7) / 8; no size, no magazine.
inline constexpr std::array<u8, kMaxSlot / 8 + 1> kPlaceOf = [] {
    std::array<u8, kMaxSlot / 8 + 1> table{place_of(kClasses)};
    for (u32 i = 1; i < table.size(); ++i) table[i] = static_cast<u8>(place_of(class_of(i * 8)));
    return table;
}();

// The home of a heap that has none: no page is in it.
inline constinit PageWords::Bounds no_words[2] = {};
inline const PageWords& none() { return *reinterpret_cast<const PageWords*>(&no_words[1]); }

}  // namespace front_detail

template <Platform P>
class alignas(64) HeapFront {
public:
    explicit HeapFront(CpuCaches<P>& rest) : rest_(rest) {}
    HeapFront(const HeapFront&) = delete;
    HeapFront& operator=(const HeapFront&) = delete;

    static u64 bytes(u32 cpus) { return sizeof(HeapFront) + cpus * sizeof(CpuCache); }

    // Pinned on `cpu`.
    CpuCache& cache(u64 cpu) {
        // As 32 bits, which needs no extension of what is a number of 32.
        const u32 distance = static_cast<u32>(cpu) * u32{sizeof(CpuCache)};
        return *reinterpret_cast<CpuCache*>(reinterpret_cast<char*>(this + 1) + distance);
    }

    // The heap that it is of.
    void* owner() const { return owner_; }
    void set_owner(void* heap) { owner_ = heap; }
    // For those whose objects are addresses: that of offset 0; and what is handed to who does
    // what the fast halves cannot.
    void set_addresses(u64 base, void* os) { base_ = base, os_ = os; }
    void* address(Offset offset) const { return reinterpret_cast<void*>(base_ + offset); }
    Offset offset_of(const void* address) const { return reinterpret_cast<u64>(address) - base_; }
    void* os() const { return os_; }

    // The region that try_free knows at once; null: none.
    const PageWords& home() const { return *home_.load(std::memory_order_acquire); }
    void set_home(const PageWords* words) {
        home_.store(words ? words : &front_detail::none(), std::memory_order_release);
    }

    // Where the magazines of a size are; that of none serves nothing.
    static u64 place_for(u64 size) {
        return size > kMaxSlot ? place_of(kClasses) : front_detail::kPlaceOf[(size + 7) / 8];
    }

    // An object of normal memory, aligned to 8, or kNoObject: nothing has happened.
    [[gnu::always_inline]] Offset try_alloc(u64 cpu, u64 size) {
        if (size > kMaxSlot) [[unlikely]]
            return kNoObject;
        return try_take(cpu, front_detail::kPlaceOf[(size + 7) / 8]);
    }
    // The same, by what place_for answered.
    [[gnu::always_inline]] Offset try_take(u64 cpu, u64 place) {
        return take(
            cpu, place, [](Offset offset) { return offset; },
            // The tail: this function needs no frame.
            [&](CpuCache& cache) { return pop_spare(cache, place); }, [] { return kNoObject; });
    }
    // Ends with one of three: done(offset); spare(cache), inside, where pop_spare goes on; none(),
    // when this interrupts somebody.
    template <typename Done, typename Spare, typename None>
    [[gnu::always_inline]] auto take(u64 cpu, u64 place, Done&& done, Spare&& spare, None&& none) {
        CpuCache& cache = settled(this->cache(cpu));
        if (!cache.enter()) [[unlikely]]
            return none();
        Entry* const top = cache.top(place).get() - 1;
        LiveByte& live = *top->live;
        const u8 mark = live.load(std::memory_order_relaxed);
        if (mark & kLive) [[unlikely]]
            return spare(cache);
        live.store(mark + kLiveStep, std::memory_order_relaxed);
        cache.top(again(place)).set(top);
        const Offset offset = top->offset;
        cache.leave();
        return done(offset);
    }

    // Not 0: a live slot is free, and was of the class of `size` if Sized. `words`: those of the
    // region that it is probably of.
    template <bool Sized = false>
    [[gnu::always_inline]] u32 try_free(u64 cpu, Offset offset, const PageWords& words,
                                        u64 size = 0) {
        CpuCache& cache = settled(this->cache(cpu));
        const u64 index = offset / kPageBytes - words.bounds().first;
        if (index >= words.bounds().pages) [[unlikely]]
            return free_elsewhere<Sized>(cache, offset, size);
        return free_in<Sized>(cache, index, offset, words, size);
    }
    // Ends with one of three: done(mark), which is not 0; spare(live, place), inside, where push_spare
    // goes on; none(). `words` hold page `index`, the offset's.
    template <bool Sized, typename Done, typename Spare, typename None>
    [[gnu::always_inline]] auto give(CpuCache& cache, u64 index, Offset offset,
                                     const PageWords& words, u64 size, Done&& done, Spare&& spare,
                                     None&& none) {
        const u64 word = words.at(index).load(std::memory_order_acquire);
        if (!word) [[unlikely]]
            return none();
        const u64 place = PageWord::place(word);
        if (Sized && (size > kMaxSlot || front_detail::kPlaceOf[(size + 7) / 8] != place))
            [[unlikely]]
            return none();
        LiveByte& live = PageWord::byte(word, place, offset);
        // Of a misaligned offset, too, this is no slot's mark.
        const u32 mark = static_cast<u32>(offset) + kLiveStep;
        if (live.load(std::memory_order_relaxed) != static_cast<u8>(mark)) [[unlikely]]
            return none();
        if (!cache.enter()) [[unlikely]]
            return none();
        Entry* const top = cache.top(place).get();
        if (top == cache.end(place)) [[unlikely]]
            return spare(live, place);
        LiveBytes::clear(live, offset);
        *top = {offset, &live};
        cache.top(again(place)).set(top + 1);
        cache.leave();
        return done(mark);  // kLive is in it
    }
    // Words of another region than the home; null: there is none at this page.
    const Region* region_elsewhere(PageNumber page) const { return rest_.region_elsewhere(page); }

    // The tails. Arguments stand where the fast path has them: a register that it must move
    // for them is moved always.
    [[gnu::noinline, gnu::used]] Offset pop_spare(CpuCache& cache, u64 place) {
        return rest_.pop_spare(cache, static_cast<u32>(place - 1));
    }
    [[gnu::noinline, gnu::used]] u32 push_spare(CpuCache& cache, Offset offset, LiveByte& live,
                                                u64 place) {
        return rest_.push_spare(cache, static_cast<u32>(place - 1), offset, &live);
    }

    // Up to n of a size from the loaded array, each with `base` added; answers how many. The
    // entry that stands in front of the array ends it, or a duplicate, which stays.
    u32 try_alloc_some(u64 cpu, u64 size, u64 base, u32 n, u64* out) {
        CpuCache& cache = settled(this->cache(cpu));
        const u64 place = place_for(size);
        if (!cache.enter()) [[unlikely]]
            return 0;
        Entry* top = cache.top(place).get();
        u32 got = 0;
        for (; got < n; ++got) {
            const Entry& e = *(top - 1);
            const u8 mark = e.live->load(std::memory_order_relaxed);
            if (mark & kLive) [[unlikely]]
                break;
            e.live->store(mark + kLiveStep, std::memory_order_relaxed);
            out[got] = e.offset + base;
            --top;
        }
        cache.top(place).set(top);
        cache.leave();
        return got;
    }

    // Frees live slots of that region, of any class, `base` taken off each, up to the first that
    // is none or finds its array full; answers how many.
    u32 try_free_some(u64 cpu, const PageWords& words, u64 base, u32 n, const u64* objects) {
        CpuCache& cache = settled(this->cache(cpu));
        if (!cache.enter()) [[unlikely]]
            return 0;
        // In locals: a live byte's store may change whatever is read through a pointer.
        const PageWords::Bounds bounds = words.bounds();
        u64 place = place_of(kClasses);
        Entry* top = cache.top(place).get();
        const Entry* end = top;
        u8 shift = 0;
        u32 done = 0;
        for (; done < n; ++done) {
            const Offset offset = objects[done] - base;
            const u64 index = offset / kPageBytes - bounds.first;
            if (index >= bounds.pages) [[unlikely]]
                break;
            const u64 word = words.at(index).load(std::memory_order_acquire);
            if (!word) [[unlikely]]
                break;
            if (PageWord::place(word) != place) [[unlikely]] {
                cache.top(place).set(top);
                place = PageWord::place(word);
                top = cache.top(place).get();
                end = cache.end(place);
                shift = kCellShifts[place];
            }
            LiveByte& live = PageWord::byte_of_cell(word, offset >> shift);
            if (live.load(std::memory_order_relaxed) != live_mark(offset) || top == end)
                [[unlikely]]
                break;
            LiveBytes::clear(live, offset);
            *top++ = {offset, &live};
        }
        cache.top(place).set(top);
        cache.leave();
        return done;
    }

private:
    template <bool Sized>
    [[gnu::always_inline]] u32 free_in(CpuCache& cache, u64 index, Offset offset,
                                       const PageWords& words, u64 size) {
        return give<Sized>(
            cache, index, offset, words, size, [](u32 mark) { return mark; },
            [&](LiveByte& live, u64 place) { return push_spare(cache, offset, live, place); },
            [] { return u32{0}; });
    }

    template <bool Sized>
    [[gnu::noinline]] u32 free_elsewhere(CpuCache& cache, Offset offset, u64 size) {
        const u64 page = offset / kPageBytes;
        const Region* region = region_elsewhere(PageNumber{page});
        if (!region) return 0;
        return free_in<Sized>(cache, page - region->first, offset, *region->words, size);
    }

    std::atomic<const PageWords*> home_{&front_detail::none()};
    CpuCaches<P>& rest_;
    void* owner_ = nullptr;
    u64 base_ = 0;
    void* os_ = nullptr;
};

}  // namespace quarry
