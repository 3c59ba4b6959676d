// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// PageCache: pages and small blocks in per-CPU magazines over a buddy, for one zone. Allocation
// and free of up to 2^3 pages take no lock while the magazine of their order serves; between it
// and the buddy a few blocks go at a time, under one hold of the buddy's lock, their mover a
// reader and not pinned. Larger orders are the buddy's.
//
// The word of a block's first page is the authority; an entry of a magazine is but a hint where
// a cached block may be found. So a second free is an error at the call, and a magazine can
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
//   count[order]   its CPU alone           relaxed; anyone reads it as a hint
//   turn           even -> odd -> even     its CPU: enter, leave       release, audit's acquire
//
// While a block is cached, some slot of its order names it, or its CPU is about to: a slot loses
// a block only to somebody who then finds the word changed, or changes it. A drain beside a flush
// may leave behind a slot whose block is not cached, or is cached elsewhere: whoever takes
// it loses the CAS and takes the next, or wins it and is right. Such slots count for nothing.
//
// An odd `turn` keeps an interrupt on the same CPU out of a half-made change: it then goes to
// the buddy. Pages of the other zone are never cached.
//
//   Buddy<P> buddy(max_pages);
//   PageCache<P> cache(buddy);
//   if (ok(cache.init()) && buddy.add_region(PageNumber{0}, pages, Zone::normal, nullptr)) {
//       if (const auto page = cache.alloc()) (void)cache.free(*page);
//       if (const auto block = cache.alloc(Order{3})) (void)cache.free(*block, Order{3});
//   }
//
// Context: any; pins by itself. Costs: O(1) with one locked instruction while the magazine
// serves, 1 KiB a CPU. (Magazines: Bonwick and Adams 2001; some at a time, so that a
// mix of alloc and free at the border does not go to the buddy each time.)
#pragma once

#include "buddy.hpp"

namespace quarry {

template <Platform P, unsigned PageShift = 12>
class PageCache {
public:
    // Orders that are cached, and how many blocks of each.
    static constexpr u32 kOrdersCached = kMostClaimed + 1;
    static constexpr u32 kCapacityOf[kOrdersCached] = {62, 30, 16, 16};
    static constexpr u32 kCapacity = kCapacityOf[0];

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

    // One page, or a block. What is cached anywhere serves before pool_full. Errors: as
    // Buddy::alloc.
    Result<PageNumber> alloc(Zone zone = Zone::normal) { return alloc(Order{0}, zone); }
    Result<PageNumber> alloc(Order order, Zone zone = Zone::normal) {
        if (zone == zone_) [[likely]] {
            const PageNumber page = try_alloc(P::pin(), order);
            P::unpin();
            if (page != kNoPage) [[likely]]
                return page;
        }
        return alloc_slow(order, zone);
    }

    // Exactly `pages` contiguous pages, the first at a multiple of 2^align: a cached block, if one
    // is of that size. Errors: as Buddy::alloc_exact.
    Result<PageNumber> alloc_exact(u64 pages, Zone zone = Zone::normal, Order align = Order{0}) {
        if (is_cached_size(pages) && pages >= pages_of(align))
            if (const auto block = alloc(order_for(pages), zone)) return *block;
        return buddy_.alloc_exact(pages, zone, align);
    }

    // Frees what alloc has given. Errors: those of Buddy::free.
    Error free(PageNumber page, Order order = Order{0}) { return free_as(page, order, As::block); }
    // Frees pages of one run. Errors: as Buddy::free of so many.
    Error free(PageNumber first, u64 pages) {
        if (!is_cached_size(pages)) return buddy_.free(first, pages);
        return free_as(first, order_for(pages), As::part);
    }
    // Frees a whole run by its start. Errors: as Buddy::free_run.
    Error free_run(PageNumber first) {
        u64 pages = 0;
        {
            PinGuard<P> pin;
            if (const auto found = buddy_.run_pages(first)) pages = *found;
        }
        if (!is_cached_size(pages)) return buddy_.free_run(first).error();
        return free_as(first, order_for(pages), As::run);
    }

    // The fast halves, for a caller that is pinned on `cpu`: by this CPU's magazine, without a
    // lock; kNoPage, false: nothing has happened, and alloc, free do it or say why not.
    static constexpr PageNumber kNoPage{~u64{0}};
    [[gnu::always_inline]] PageNumber try_alloc(u64 cpu, Order order) {
        if (!magazines_ || value(order) >= kOrdersCached) [[unlikely]]
            return kNoPage;
        Magazine& m = magazines_[cpu];
        const u64 entered = m.enter();
        if (!entered) [[unlikely]]
            return kNoPage;
        PageNumber page = kNoPage;
        if (const u32 n = m.count_now(order)) [[likely]] {
            auto& slot = m.slots(order)[n - 1];
            const PageNumber newest{slot.load(std::memory_order_relaxed)};
            slot.store(kEmpty, std::memory_order_relaxed);
            m.set_count(order, n - 1);
            if (claim(newest, order)) [[likely]]
                page = newest;
        }
        m.leave(entered);
        return page;
    }
    [[gnu::always_inline]] bool try_free(u64 cpu, PageNumber page, Order order) {
        if (!magazines_ || value(order) >= kOrdersCached) [[unlikely]]
            return false;
        const auto [region, desc] = buddy_.find_with_region(page);
        if (!region || region->zone != zone_) [[unlikely]]
            return false;
        Magazine& m = magazines_[cpu];
        const u64 entered = m.enter();
        if (!entered) [[unlikely]]
            return false;
        const u32 n = m.count_now(order);
        u64 run = run_word(region->id, order);
        const bool done = n != capacity(order) && desc->change(run, cached_word(region->id, order));
        if (done) [[likely]]
            m.push(order, n, page);
        m.leave(entered);
        return done;
    }

    // Gives every cached block back to the buddy, from whatever CPU; answers how many pages.
    u64 drain() {
        u64 given = 0;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) given += drain(magazines_[cpu]);
        return given;
    }

    // Cached pages that magazines name: exact at rest, a hint beside running calls (a block
    // that two slots name counts twice). O(CPUs).
    u64 count() const {
        u64 pages = 0;
        for (u32 cpu = 0; cpu < cpus_; ++cpu)
            pages += named_by(magazines_[cpu]);
        return pages;
    }
    u64 meta_bytes() const { return cpus_ * sizeof(Magazine); }

    // Audits the buddy and the magazines: some slot names every cached block. The count is
    // compared only if no page moved from the first step to the last. Context: task.
    BuddyCensus verify(Audit& audit) const {
        bool still = true;
        const u64 before = moves(still);
        BuddyCensus census = buddy_.verify(audit);
        u64 named = 0;
        for (u32 cpu = 0; cpu < cpus_; ++cpu) {
            const Magazine& m = magazines_[cpu];
            for (u32 o = 0; o < kOrdersCached; ++o)
                audit.expect(m.count_now(order_of(o)) <= kCapacityOf[o],
                             "a magazine of pages is overfull", 0);
            named += named_by(m);
            P::breathe();
        }
        census.quiet = census.quiet && moves(still) == before && still;
        audit.expect(!census.quiet || named >= census.cached_pages,
                     "a cached page is in no magazine", 0);
        return census;
    }

private:
    static constexpr u64 kEmpty = value(kNoPage);
    static constexpr u32 kStep = Buddy<P, PageShift>::kStepBlocks;

    static constexpr Order order_of(u32 o) { return Order{static_cast<u8>(o)}; }
    static u32 capacity(Order order) { return kCapacityOf[value(order)]; }
    static bool is_cached_size(u64 pages) {
        return is_power_of_two(pages) && pages <= pages_of(Order{kMostClaimed});
    }
    static Order order_for(u64 pages) { return order_of(lowest_bit(pages)); }

    // What is freed, should the buddy have to do it.
    enum class As : u8 { block, part, run };

    static u64 run_word(u32 region, Order order) {
        return PageDesc::make(PageState::run, order, region, pages_of(order));
    }
    static u64 cached_word(u32 region, Order order) {
        return PageDesc::make(PageState::cached, order, region);
    }
    // On its way to the buddy: a second free finds it cached, and no alloc takes it.
    static u64 leaving_word(u32 region, Order order) {
        return PageDesc::make(PageState::cached, order, region, 1);
    }

    struct alignas(64) Magazine {
        std::atomic<u64> turn{0};
        std::atomic<u32> count[kOrdersCached] = {};
        u64 unused = 0;
        std::atomic<u64> slot[124];
        static constexpr u8 kFirst[kOrdersCached] = {0, 62, 92, 108};
        static_assert(kFirst[3] + kCapacityOf[3] == 124 && kFirst[2] + kCapacityOf[2] == kFirst[3] &&
                      kFirst[1] + kCapacityOf[1] == kFirst[2] && kCapacityOf[0] == kFirst[1]);

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
        // Those of an order, the oldest first.
        std::atomic<u64>* slots(Order order) { return &slot[kFirst[value(order)]]; }
        const std::atomic<u64>* slots(Order order) const { return &slot[kFirst[value(order)]]; }
        u32 count_now(Order order) const {
            return count[value(order)].load(std::memory_order_relaxed);
        }
        void set_count(Order order, u32 n) {
            count[value(order)].store(n, std::memory_order_relaxed);
        }
        void push(Order order, u32 n, PageNumber page) {
            slots(order)[n].store(value(page), std::memory_order_release);
            set_count(order, n + 1);
        }
    };
    static_assert(sizeof(Magazine) == 1024);

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
    u64 named_by(const Magazine& m) const {
        u64 pages = 0;
        for (u32 o = 0; o < kOrdersCached; ++o) {
            for (u32 i = 0; i < kCapacityOf[o]; ++i) {
                const auto& slot = m.slots(order_of(o))[i];
                if (slot.load(std::memory_order_relaxed) == kEmpty) continue;
                ReadGuard<P> reader;
                const u64 page = slot.load(std::memory_order_acquire);
                const PageDesc* desc = page == kEmpty ? nullptr : buddy_.find(PageNumber{page});
                const u64 word = desc ? desc->word() : 0;
                if (PageDesc::state(word) == PageState::cached && PageDesc::order(word) == order_of(o))
                    pages += pages_of(order_of(o));
            }
        }
        return pages;
    }

    [[gnu::noinline]] Result<PageNumber> alloc_slow(Order order, Zone zone) {
        if (zone == zone_ && magazines_ && value(order) < kOrdersCached) {
            PageNumber page = kNoPage;
            if (inside([&](Magazine& m) { page = pop(m, order); }) && page == kNoPage)
                page = refill(order);
            if (page != kNoPage) return page;
        }
        auto page = buddy_.alloc(order, zone);
        if (!page && page.error() == Error::pool_full && drain()) page = buddy_.alloc(order, zone);
        return page;
    }
    Error free_as(PageNumber page, Order order, As as) {
        const bool done = try_free(P::pin(), page, order);
        P::unpin();
        if (done) [[likely]]
            return Error::none;
        return free_slow(page, order, as);
    }
    Error free_in_buddy(PageNumber page, Order order, As as) {
        switch (as) {
        case As::part: return buddy_.free(page, pages_of(order));
        case As::run: return buddy_.free_run(page).error();
        default: return buddy_.free(page, order);
        }
    }
    [[gnu::noinline]] Error free_slow(PageNumber page, Order order, As as) {
        if (!magazines_ || value(order) >= kOrdersCached) return free_in_buddy(page, order, as);
        ReadGuard<P> reader;
        const auto found = buddy_.find_with_region(page);
        if (!found.region || found.region->zone != zone_) return free_in_buddy(page, order, as);
        PageNumber old[kStep];
        u32 n = 0;
        u64 run = run_word(found.region->id, order);
        bool ours = false;
        const bool here = found.desc->word() == run && inside([&](Magazine& m) {
            if (m.count_now(order) == capacity(order)) n = cut(m, order, old);
            ours = found.desc->change(run, cached_word(found.region->id, order));
            if (ours) m.push(order, m.count_now(order), page);
        });
        if (!here) return free_in_buddy(page, order, as);
        buddy_.free_blocks(order, old, n);
        return ours ? Error::none : Error::already_free;  // somebody else's free won
    }

    // fn(this CPU's magazine), pinned. False: this interrupts somebody who is inside.
    template <typename Fn>
    bool inside(Fn&& fn) {
        PinGuard<P> pin;
        Magazine& m = magazines_[pin.cpu()];
        const u64 entered = m.enter();
        if (!entered) return false;
        fn(m);
        m.leave(entered);
        return true;
    }

    // The newest block that is still ours; kNoPage when there is none.
    PageNumber pop(Magazine& m, Order order) {
        for (u32 n = m.count_now(order); n-- > 0;) {
            auto& slot = m.slots(order)[n];
            const u64 page = slot.load(std::memory_order_relaxed);
            slot.store(kEmpty, std::memory_order_relaxed);
            m.set_count(order, n);
            if (page != kEmpty && claim(PageNumber{page}, order)) return PageNumber{page};
        }
        return kNoPage;
    }

    // cached -> run, by one of several. As a reader.
    bool claim(PageNumber page, Order order) {
        const auto [region, desc] = buddy_.find_with_region(page);
        if (!region) [[unlikely]]
            return false;
        u64 cached = cached_word(region->id, order);
        if (!desc->change(cached, run_word(region->id, order))) [[unlikely]]
            return false;
        desc->run().next = desc->run().prev = 0;
        return true;
    }

    bool claim_leaving(PageNumber page, Order order) {
        const auto [region, desc] = buddy_.find_with_region(page);
        if (!region) return false;
        u64 cached = cached_word(region->id, order);
        return desc->change(cached, leaving_word(region->id, order));
    }

    // Up to kStep blocks of the buddy: one for the caller, the others for this CPU's magazine.
    // kNoPage when it has none.
    PageNumber refill(Order order) {
        ReadGuard<P> reader;
        PageNumber fresh[kStep];
        u32 n = buddy_.alloc_blocks(order, kStep, zone_, fresh);
        if (!n) return kNoPage;
        inside([&](Magazine& m) {  // the first one is popped first
            while (n > 1 && m.count_now(order) < capacity(order)) stock(m, order, fresh[--n]);
        });
        // What found no room. A stale free may have been quicker: then it is refused.
        while (n > 1) (void)buddy_.free(fresh[--n], order);
        return fresh[0];
    }

    // A run of ours into the magazine, inside. A stale free may have been quicker: then the block is
    // cached, or free, already.
    void stock(Magazine& m, Order order, PageNumber page) {
        const auto [region, desc] = buddy_.find_with_region(page);
        if (!region) return;
        u64 run = run_word(region->id, order);
        if (desc->change(run, cached_word(region->id, order))) m.push(order, m.count_now(order), page);
    }

    // Up to kStep blocks leave a full magazine, the newest: as what is on its way to the buddy.
    // Inside.
    u32 cut(Magazine& m, Order order, PageNumber* out) {
        auto* const slots = m.slots(order);
        u32 n = 0;
        for (u32 i = 0; i < kStep; ++i) {
            const u32 at = m.count_now(order) - 1;
            const u64 page = slots[at].load(std::memory_order_relaxed);
            if (page != kEmpty && claim_leaving(PageNumber{page}, order)) out[n++] = PageNumber{page};
            slots[at].store(kEmpty, std::memory_order_relaxed);
            m.set_count(order, at);
        }
        return n;
    }

    u64 drain(Magazine& m) {
        drains_.fetch_add((u64{1} << 32) + 1, std::memory_order_acq_rel);
        u64 given = 0;
        for (u32 o = 0; o < kOrdersCached; ++o) given += drain(m, order_of(o)) * pages_of(order_of(o));
        drains_.fetch_sub(1, std::memory_order_release);
        return given;
    }
    u32 drain(Magazine& m, Order order) {
        PageNumber blocks[kStep];
        u32 given = 0;
        for (u32 i = 0; i < capacity(order);) {
            ReadGuard<P> reader;
            u32 n = 0;
            for (; i < capacity(order) && n < kStep; ++i) {
                auto& slot = m.slots(order)[i];
                u64 page = slot.load(std::memory_order_acquire);
                if (page == kEmpty || !claim_leaving(PageNumber{page}, order)) continue;
                blocks[n++] = PageNumber{page};
                slot.compare_exchange_strong(page, kEmpty, std::memory_order_relaxed);
            }
            buddy_.free_blocks(order, blocks, n);
            given += n;
        }
        return given;
    }

    Buddy<P, PageShift>& buddy_;
    Zone zone_;
    u32 cpus_ = 0;
    std::atomic<u64> drains_{0};  // begun in the upper half, in flight in the lower
    Magazine* magazines_ = nullptr;
};

}  // namespace quarry
