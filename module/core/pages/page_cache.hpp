// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// PageCache: single pages in per-CPU magazines over a buddy, for one zone. Allocation and
// free take no lock while the magazine serves; refill and flush move half a magazine
// under one hold of the buddy's lock.
//
// The page's own word is the authority; an entry of a magazine is but a hint where a
// cached page may be found. So a second free is an error at the call, and a magazine can
// be drained from any CPU, in any context, without stopping its owner.
//
//   word           transition              made by                     order, pairs with
//   page's word    run -> cached           free, refill: CAS           acq_rel, with each other
//                  cached -> run           alloc: CAS                  acq_rel, with each other
//                  cached -> leaving       flush, drain: CAS           acq_rel, with each other
//                  leaving -> free         the buddy, under its lock
//   slot[i]        none -> page            its CPU, after run->cached  release, drain's acquire
//                  page -> none            its CPU, before cached->run relaxed
//                  page -> none            drain: CAS, after cached->run and before the
//                                          page goes to the buddy      relaxed
//   count          its CPU alone           relaxed; anyone reads it as a hint
//   turn           even -> odd -> even     its CPU: enter, leave       release, audit's acquire
//
// While a page is cached, some slot names it, or its CPU is about to: a slot loses a page
// only to somebody who then finds the word changed, or changes it. A drain beside a flush
// may leave behind a slot whose page is not cached, or is cached elsewhere: whoever takes
// it loses the CAS and takes the next, or wins it and is right. Such slots count for nothing.
//
// An odd `turn` keeps an interrupt on the same CPU out of a half-made change: it then goes to
// the buddy. Pages of the other zone are never cached.
//
//   Buddy<P> buddy(max_pages);
//   PageCache<P> cache(buddy);
//   if (ok(cache.init()) && buddy.add_region(PageNumber{0}, pages, Zone::normal, nullptr))
//       if (const auto page = cache.alloc()) (void)cache.free(*page);
//
// Context: any; pins by itself. Costs: O(1) with one locked instruction while the magazine
// serves, 0.5 KiB a CPU. (Magazines: Bonwick and Adams 2001; half at a time, so that a
// mix of alloc and free at the border moves no batch each time.)
#pragma once

#include "buddy.hpp"

namespace quarry {

template <Platform P, unsigned PageShift = 12>
class PageCache {
public:
    static constexpr u32 kCapacity = 62;  // 8 cache lines with the header
    static constexpr u32 kHalf = kCapacity / 2;

    explicit PageCache(Buddy<P, PageShift>& buddy, Zone zone = Zone::normal)
        : buddy_(buddy), zone_(zone) {}
    // Quiescent: gives every cached page back.
    ~PageCache() {
        if (!magazines_) return;
        drain();
        P::meta_free(magazines_, meta_bytes());
    }
    PageCache(const PageCache&) = delete;
    PageCache& operator=(const PageCache&) = delete;

    // Context: task. Errors: no_memory, initialised. Before it, pages come from the buddy.
    Error init() {
        if (magazines_) return Error::initialised;
        const u32 cpus = P::cpus();
        void* memory = P::meta_alloc(cpus * sizeof(Magazine), Context::may_sleep);
        if (!memory) return Error::no_memory;
        magazines_ = static_cast<Magazine*>(memory);
        cpus_ = cpus;
        for (u32 i = 0; i < cpus_; ++i) new (&magazines_[i]) Magazine;
        return Error::none;
    }

    // One page. What is cached anywhere serves before pool_full. Errors: as Buddy::alloc.
    Result<PageNumber> alloc(Zone zone = Zone::normal) {
        if (zone == zone_ && magazines_) [[likely]] {
            const PageNumber page = take_newest(magazines_[P::pin()]);
            P::unpin();
            if (page != kNone) [[likely]]
                return page;
        }
        return alloc_slow(zone);
    }

    // Frees one page. Errors: those of Buddy::free for order 0.
    Error free(PageNumber page) {
        if (magazines_) [[likely]] {
            const bool done = give(magazines_[P::pin()], page);
            P::unpin();
            if (done) [[likely]]
                return Error::none;
        }
        return free_slow(page);
    }

    // Gives every cached page back to the buddy, from whatever CPU; answers how many.
    u64 drain() {
        u64 given = 0;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) given += drain(magazines_[cpu]);
        return given;
    }

    // Cached pages that magazines name: exact at rest, a hint beside running calls (a page
    // that two slots name counts twice). O(CPUs).
    u64 count() const {
        u64 pages = 0;
        for (u32 cpu = 0; cpu < cpus_; ++cpu)
            pages += named_by(magazines_[cpu]);
        return pages;
    }
    u64 meta_bytes() const { return cpus_ * sizeof(Magazine); }

    // Audits the buddy and the magazines: some slot names every cached page. The count is
    // compared only if no page moved from the first step to the last. Context: task.
    BuddyCensus verify(Audit& audit) const {
        bool still = true;
        const u64 before = moves(still);
        BuddyCensus census = buddy_.verify(audit);
        u64 named = 0;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) {
            const Magazine& m = magazines_[cpu];
            audit.expect(m.count_now() <= kCapacity, "a magazine of pages is overfull", 0);
            named += named_by(m);
            P::breathe();
        }
        census.quiet = census.quiet && moves(still) == before && still;
        audit.expect(!census.quiet || named >= census.cached_pages,
                     "a cached page is in no magazine", 0);
        return census;
    }

private:
    static constexpr u64 kEmpty = ~u64{0};
    static constexpr PageNumber kNone{kEmpty};

    static constexpr u64 run_word(u32 region) {
        return PageDesc::make(PageState::run, Order{0}, region, 1);
    }
    static constexpr u64 cached_word(u32 region) {
        return PageDesc::make(PageState::cached, Order{0}, region);
    }
    // On its way to the buddy: a second free finds it cached, and no alloc takes it.
    static constexpr u64 leaving_word(u32 region) {
        return PageDesc::make(PageState::cached, Order{0}, region, 1);
    }

    struct alignas(64) Magazine {
        std::atomic<u64> turn{0};
        std::atomic<u64> count{0};
        std::atomic<u64> slot[kCapacity];

        Magazine() {
            for (auto& s : slot) s.store(kEmpty, std::memory_order_relaxed);
        }
        // Only interrupts of this CPU can be in the way: no locked instruction. What leave()
        // wants; 0: this interrupts somebody who is inside.
        u64 enter() {
            const u64 t = turn.load(std::memory_order_relaxed);
            if (t % 2) [[unlikely]]
                return 0;
            turn.store(t + 1, std::memory_order_relaxed);
            std::atomic_signal_fence(std::memory_order_seq_cst);
            return t + 1;
        }
        void leave(u64 entered) { turn.store(entered + 1, std::memory_order_release); }
        u32 count_now() const {
            return static_cast<u32>(count.load(std::memory_order_relaxed));
        }
        void set_count(u32 n) { count.store(n, std::memory_order_relaxed); }
        void push(u32 n, PageNumber page) {
            slot[n].store(value(page), std::memory_order_release);
            set_count(n + 1);
        }
    };
    static_assert(sizeof(Magazine) == 512);

    // How often a magazine was changed; not `still` when one is being changed.
    u64 moves(bool& still) const {
        const u64 drains = drains_.load(std::memory_order_acquire);
        still = still && static_cast<u32>(drains) == 0;
        u64 sum = drains >> 32;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) {
            const u64 turn = magazines_[cpu].turn.load(std::memory_order_acquire);
            still = still && turn % 2 == 0;
            sum += turn;
        }
        return sum;
    }
    u32 named_by(const Magazine& m) const {
        u32 pages = 0;
        for (const auto& slot : m.slot) {
            if (slot.load(std::memory_order_relaxed) == kEmpty) continue;
            ReadGuard<P> reader;
            const u64 page = slot.load(std::memory_order_acquire);
            const PageDesc* desc = page == kEmpty ? nullptr : buddy_.find(PageNumber{page});
            pages += desc && desc->state() == PageState::cached;
        }
        return pages;
    }

    // ---- the fast halves: the newest slot, the home region, no call; else nothing ----

    // Pinned. kNone: the slow half is needed.
    PageNumber take_newest(Magazine& m) {
        const u64 entered = m.enter();
        if (!entered) [[unlikely]]
            return kNone;
        PageNumber page = kNone;
        if (const u32 n = m.count_now()) [[likely]] {
            const PageNumber newest{m.slot[n - 1].load(std::memory_order_relaxed)};
            const auto [region, desc] = buddy_.find_at_home(newest);
            if (region) [[likely]] {
                m.slot[n - 1].store(kEmpty, std::memory_order_relaxed);
                m.set_count(n - 1);
                if (claim(*region, *desc)) [[likely]]
                    page = newest;
            }
        }
        m.leave(entered);
        return page;
    }
    // Pinned. False: the slow half is needed.
    bool give(Magazine& m, PageNumber page) {
        const auto [region, desc] = buddy_.find_at_home(page);
        if (!region || region->zone != zone_) [[unlikely]]
            return false;
        const u64 entered = m.enter();
        if (!entered) [[unlikely]]
            return false;
        const u32 n = m.count_now();
        u64 run = run_word(region->id);
        const bool done = n != kCapacity && desc->change(run, cached_word(region->id));
        if (done) [[likely]]
            m.push(n, page);
        m.leave(entered);
        return done;
    }

    [[gnu::noinline]] Result<PageNumber> alloc_slow(Zone zone) {
        if (zone == zone_ && magazines_) {
            PinGuard<P> pin;
            Magazine& m = magazines_[pin.cpu()];
            if (const u64 entered = m.enter()) {
                const PageNumber page = m.count_now() || refill(m) ? pop(m) : kNone;
                m.leave(entered);
                if (page != kNone) return page;
            }
        }
        auto page = buddy_.alloc(Order{0}, zone);
        if (!page && page.error() == Error::pool_full && drain()) page = buddy_.alloc(Order{0}, zone);
        return page;
    }
    [[gnu::noinline]] Error free_slow(PageNumber page) {
        PinGuard<P> pin;
        const auto [region, found] = buddy_.find_with_region(page);
        if (!region || region->zone != zone_ || !magazines_) return buddy_.free(page, Order{0});
        PageDesc& desc = *found;
        u64 word = desc.word();
        Magazine& m = magazines_[pin.cpu()];
        const u64 entered = word == run_word(region->id) ? m.enter() : 0;
        if (!entered) return buddy_.free(page, Order{0});
        Error e = Error::none;
        if (m.count_now() == kCapacity) flush(m);
        if (desc.change(word, cached_word(region->id)))
            m.push(m.count_now(), page);
        else
            e = Error::already_free;  // somebody else's free won
        m.leave(entered);
        return e;
    }

    // The newest page that is still ours; kNone when there is none.
    PageNumber pop(Magazine& m) {
        for (u32 n = m.count_now(); n-- > 0;) {
            const u64 page = m.slot[n].load(std::memory_order_relaxed);
            m.slot[n].store(kEmpty, std::memory_order_relaxed);
            m.set_count(n);
            if (page != kEmpty && claim(PageNumber{page})) return PageNumber{page};
        }
        return kNone;
    }

    // cached -> run, by one of several. As a reader.
    bool claim(PageNumber page) {
        const auto [region, desc] = buddy_.find_with_region(page);
        return region && claim(*region, *desc);
    }
    static bool claim(const Region& region, PageDesc& desc) {
        u64 cached = cached_word(region.id);
        if (!desc.change(cached, run_word(region.id))) return false;
        desc.run().next = desc.run().prev = 0;
        return true;
    }

    bool claim_leaving(PageNumber page) {
        const Region* region = buddy_.region_of(page);
        if (!region) return false;
        u64 cached = cached_word(region->id);
        return buddy_.find(page)->change(cached, leaving_word(region->id));
    }

    bool refill(Magazine& m) {
        PageNumber fresh[kHalf];
        const u32 n = buddy_.alloc_pages(kHalf, zone_, fresh);
        for (u32 i = n; i-- > 0;) {  // the first one is popped first
            PageDesc* desc = buddy_.find(fresh[i]);
            if (!desc) continue;
            // A stale free may have been quicker: then the page is cached, or free, already.
            const u32 region = PageDesc::region(desc->word());
            u64 run = run_word(region);
            if (desc->change(run, cached_word(region))) m.push(m.count_now(), fresh[i]);
        }
        return n != 0;
    }

    // The older half goes; the newer one moves down.
    void flush(Magazine& m) {
        PageNumber old[kHalf];
        u32 n = 0;
        for (u32 i = 0; i < kHalf; ++i) {
            const u64 page = m.slot[i].load(std::memory_order_relaxed);
            if (page != kEmpty && claim_leaving(PageNumber{page})) old[n++] = PageNumber{page};
        }
        for (u32 i = kHalf; i < kCapacity; ++i) {
            const u64 page = m.slot[i].load(std::memory_order_relaxed);
            m.slot[i - kHalf].store(page, std::memory_order_release);
            m.slot[i].store(kEmpty, std::memory_order_relaxed);
        }
        m.set_count(kCapacity - kHalf);
        buddy_.free_pages(old, n);
    }

    u32 drain(Magazine& m) {
        drains_.fetch_add((u64{1} << 32) + 1, std::memory_order_acq_rel);
        PageNumber pages[kHalf];
        u32 given = 0;
        for (u32 i = 0; i < kCapacity;) {
            ReadGuard<P> reader;
            u32 n = 0;
            for (; i < kCapacity && n < kHalf; ++i) {
                u64 page = m.slot[i].load(std::memory_order_acquire);
                if (page == kEmpty || !claim_leaving(PageNumber{page})) continue;
                pages[n++] = PageNumber{page};
                m.slot[i].compare_exchange_strong(page, kEmpty, std::memory_order_relaxed);
            }
            buddy_.free_pages(pages, n);
            given += n;
        }
        drains_.fetch_sub(1, std::memory_order_release);
        return given;
    }

    Buddy<P, PageShift>& buddy_;
    Zone zone_;
    u32 cpus_ = 0;
    std::atomic<u64> drains_{0};  // begun in the upper half, in flight in the lower
    Magazine* magazines_ = nullptr;
};

}  // namespace quarry
