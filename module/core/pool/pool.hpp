// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A pool with owners: what a device pool is. Regions and a buddy, slabs whose slots
// belong to clients, runs of pages that belong to clients, limits.
//
//   heap    any size: up to 2048 bytes from slabs in 48 classes, beyond that pages
//   fixed   one object size and a fixed count, all of it there from the start
//   range   offsets of memory that is not Quarry's: range_pool.hpp does the work
//
// alloc and free move up to a batch; each touches only its own classes' locks, 32 slots
// under one hold. Before alloc says needs_pages or pool_full, everything that is free
// anywhere in the pool has been tried: slots on their way home, idle slabs of every
// class, owner records of the last resort (where the pool cannot grow any more).
//
// Offsets are the user's: each is looked up, never trusted. A look-up is O(log regions).
// The reaper is in reaper.hpp, the audit in pool_audit.hpp.
#pragma once

#include "client_magazines.hpp"
#include "held_objects.hpp"
#include "shares.hpp"
#include "pool_config.hpp"
#include "range_pool.hpp"
#include "slot_groups.hpp"

namespace quarry {

template <Platform P>
class ShareCalls;  // share_calls.hpp

template <Platform P>
class TransferCalls;  // transfer_calls.hpp

template <Platform P>
class Pool {
public:
    using Policy = ClientOwners<P>;
    using Slabs = SlabAllocator<P, Policy>;
    using SlabT = Slab<Policy>;

    static_assert(metadata_is_within_bounds<SlabT>());

    using Refusal = PoolRefusal;
    using Granted = PoolGranted;

    explicit Pool(const PoolConfig& config)
        : config_(config),
          fixed_class_(config.fixed ? cut_of_fixed(config.object_size) : SizeClass{}),
          buddy_(config.max_pages),
          clients_(config.max_clients),
          owners_(buddy_, clients_, overflow_, config.zero_on_regrant),
          slabs_(buddy_, owners_, config.fixed ? &fixed_class_ : kSizeClasses.data(),
                 config.fixed ? 1 : kClasses, config.os, config.fixed ? ~u32{0} : Slabs::kKeepIdle) {}

    ~Pool() {
        free_meta<P>(ranges_);
        free_meta<P>(held_);
        if (auto* cursors = census_.cursors.load(std::memory_order_relaxed))
            P::meta_free(cursors, P::cpus() * sizeof(*cursors));
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    // After the constructor. Errors: no_memory.
    Error init() {
        if (const Error e = clients_.init(); !ok(e)) return e;
        if (config_.range.max_live) {
            ranges_ = make_meta<RangePool<P>, P>(Context::may_sleep, clients_);
            if (!ranges_) return Error::no_memory;
            if (const Error e = ranges_->init(config_.range); !ok(e)) return e;
        }
        if (config_.hold_pinned) {
            held_ = make_meta<HeldObjects<P>, P>(Context::may_sleep, this, config_.os, config_.max_pages,
                                                 buddy_, owners_, slabs_, fixed_live_);
            if (!held_) return Error::no_memory;
            clients_.set_keeper(&held_->keeper());
        }
        if (const Error e = overflow_.init(Overflow<P>::capacity_for(config_.max_pages)); !ok(e))
            return e;
        return slabs_.init();
    }

    const PoolConfig& config() const { return config_; }
    Buddy<P>& buddy() { return buddy_; }
    const Buddy<P>& buddy() const { return buddy_; }
    Slabs& slabs() { return slabs_; }
    Policy& owners() { return owners_; }
    ClientTable<P>& clients() { return clients_; }
    Overflow<P>& overflow() { return overflow_; }
    Shares<P>& shares() { return shares_; }
    MagazineCensus& census() { return census_; }
    // Null where nobody asked for it.
    HeldObjects<P>* held() const { return held_; }
    // Null in pools of another kind.
    RangePool<P>* ranges() const { return ranges_; }
    // The offset space.
    u64 max_bytes() const {
        return ranges_ ? ranges_->capacity() : config_.max_pages * kPageBytes;
    }
    u64 meta_bytes() {
        return sizeof(*this) + buddy_.meta_bytes() + slabs_.meta_bytes() + clients_.meta_bytes() +
               overflow_.meta_bytes() + shares_.meta_bytes() + census_.meta_bytes.load(std::memory_order_relaxed) +
               (held_ ? sizeof(*held_) : 0) +
               (ranges_ ? sizeof(*ranges_) + ranges_->meta_bytes() : 0);
    }

    // Fixed pools: pages that all of the objects need, in slabs; makes these slabs.
    u64 wanted_pages() const {
        if (!config_.fixed) return 0;
        const u64 slabs = (config_.object_count + fixed_class_.slots - 1) / fixed_class_.slots;
        return slabs * pages_of(fixed_class_.order);
    }
    Error populate() {
        if (!config_.fixed) return Error::not_supported;
        for (u64 made = 0; made < wanted_pages(); made += pages_of(fixed_class_.order)) {
            if (const Error e = slabs_.add_slab(0, Zone::normal, Context::may_sleep); !ok(e))
                return e;
            P::breathe();
        }
        return Error::none;
    }

    // Where an object of this size and alignment comes from.
    struct Route {
        u64 unit = 0;   // bytes set aside for it
        u64 pages = 0;  // 0: slots of size class c
        u32 c = 0;
        Order align{0};
    };
    Result<Route> route(u64 size, u64 align) const {
        Route r;
        if (size == 0 || !is_power_of_two(align)) return Error::invalid;
        if (size > kMaxObject || align > kMaxObject) return Error::too_large;
        if (config_.fixed) {
            if (size != config_.object_size) return Error::wrong_size;
            // Slots follow each other without gaps, from a page boundary on.
            if (align > kPageBytes || size & (align - 1) & (kPageBytes - 1)) return Error::invalid;
            r.unit = size;
            return r;
        }
        if (size <= kMaxSlot && align <= kMaxSlot) {
            r.c = class_of(size, align);
            r.unit = kSizeClasses[r.c].slot_bytes;
            return r;
        }
        r.pages = (size + kPageBytes - 1) / kPageBytes;
        r.unit = r.pages * kPageBytes;
        if (align > kPageBytes) r.align = Order{static_cast<u8>(lowest_bit(align) - 12)};
        return r;
    }

    // `can_grow` false: the caller cannot add regions, so use the last resort too.
    Granted alloc(Client<P>& client, u64 size, u64 align, u32 count, Offset* out,
                  Context context, bool can_grow, Offset near = kAnywhere) {
        if (ranges_) return ranges_->alloc(client, size, align, count, out);
        Granted g;
        const auto r = route(size, align);
        if (!r) return {0, r.error(), 0};
        if (count == 0) return {0, Error::invalid, 0};
        const u32 allowed = client.reserve(count, r->unit);
        if (allowed < count) g.why = Error::quota;
        u32 wanted = reserve_objects(allowed);
        if (wanted < allowed && held_ && held_->recheck()) wanted += reserve_objects(allowed - wanted);
        if (wanted < allowed) {
            g.why = Error::pool_full;
            client.unreserve((allowed - wanted) * r->unit);
        }
        if (wanted) {
            const Granted got = r->pages ? take_runs(client, *r, wanted, out, can_grow)
                                         : take_slots(client, *r, wanted, out, context, can_grow, near);
            g.done = got.done;
            if (got.done < wanted) {
                g.why = got.why;
                g.pages = got.pages;
                client.unreserve((wanted - got.done) * r->unit);
                objects_home(wanted - got.done);
            }
        }
        client.count_granted(g.done);
        return g;
    }

    // Frees in order; stops at the first that is refused. Context: task.
    Granted free(Client<P>& client, const Offset* offsets, u32 count, Refusal& refusal) {
        if (ranges_) return ranges_->free(client, offsets, count, refusal);
        Granted g;
        Freed freed;
        while (g.done < count && ok(g.why)) {
            ReadGuard<P> reader;
            typename Slabs::Homing homing(slabs_);
            NearSlab<SlabT> near;
            const u32 stop = count - g.done < kStepSlots ? count : g.done + kStepSlots;
            while (g.done < stop && ok(g.why)) {
                const u32 together = near.release(offsets + g.done, stop - g.done, homing);
                if (together) freed.bytes += u64{together} * near.slab->size_class().slot_bytes;
                if (!together) g.why = free_one(client, offsets[g.done], homing, freed, refusal, near);
                g.done += together ? together : ok(g.why);
            }
        }
        client.count_freed(g.done, freed.bytes);
        objects_home(g.done - freed.kept);
        return g;
    }

    // Fixed pools: so many objects came home, or were reserved and not taken. The last
    // slab may have more slots than the pool has objects: a count bounds them.
    void objects_home(u64 n) {
        if (config_.fixed) fixed_live_.fetch_sub(n, std::memory_order_release);
    }

    // A share of this object has been dropped, the last one: the object goes home. Answers its
    // bytes. As a reader.
    u64 free_shared(Offset offset, typename Slabs::Homing& homing) {
        Client<P>& commons = *shares_.commons();
        const auto place = locate(offset);
        u64 bytes = 0;
        if (place && place->slab) {
            ClientIndex owner = kNobody;
            bytes = place->slab->size_class().slot_bytes;
            if (held_ && held_->is_held(offset, bytes))
                (void)held_->keep_slot(*place->slab, place->slot, commons, owner);
            else if (ok(owners_.release(*place->slab, place->slot, commons, owner)))
                homing.add(*place->slab, place->slot);
        } else if (place) {
            place->desc->run().owner.store(kNobody, std::memory_order_release);
            free_run(commons, place->page, bytes);
        }
        commons.count_freed(1, bytes);
        return bytes;
    }
    // Another size for an object where it stands; answers its bytes from then on. Errors:
    // not_supported (only ranges can), those of RangePool::resize. Context: any.
    Result<u64> resize(Client<P>& client, Offset offset, u64 size, Refusal& refusal) {
        refusal = {offset, 0};
        if (!ranges_) return Error::not_supported;
        return ranges_->resize(client, offset, size, refusal);
    }

    // Everything home, idle slabs to the buddy.
    void drain(u64& slots, u64& given) {
        slots = given = 0;
        for (u32 c = 0; c < slabs_.classes(); ++c) {
            ReadGuard<P> reader;
            slots += slabs_.collect(c);
            if (!config_.fixed) given += slabs_.reclaim(c);
        }
        if (held_) (void)held_->recheck();
    }

    // What an offset names. As a reader.
    struct Place {
        PageDesc* desc = nullptr;
        SlabT* slab = nullptr;  // null: a run
        SlotIndex slot = 0;
        PageNumber page{0};
    };
    Result<Place> locate(Offset offset) {
        if (offset % kGrain) return Error::misaligned;
        if (offset >= max_bytes()) return Error::out_of_range;
        Place p;
        p.page = PageNumber{offset / kPageBytes};
        p.desc = buddy_.find(p.page);
        if (!p.desc) return Error::no_region;
        Error why = Error::none;
        // Again when a page that headed nothing has become a run meanwhile.
        while (!place(p, offset, why)) {}
        if (!ok(why)) return why;
        return p;
    }
    // Who has it, or nobody. As a reader.
    ClientIndex owner_at(const Place& place) {
        return place.slab ? owners_.owner_of(*place.slab, place.slot)
                          : place.desc->run().owner.load(std::memory_order_acquire);
    }
    // Of an object that is there. As a reader.
    u64 bytes_of(const Place& place) {
        if (place.slab) return place.slab->size_class().slot_bytes;
        const auto pages = buddy_.run_pages(place.page);
        return pages ? *pages * kPageBytes : 0;
    }

private:
    friend class ShareCalls<P>;
    friend class TransferCalls<P>;

    // What the page's word says of the offset; false when it says nothing yet.
    bool place(Place& p, Offset offset, Error& why) {
        const u64 word = p.desc->word();
        switch (PageDesc::state(word)) {
        case PageState::slab:
            p.slab = PageDesc::slab<SlabT>(word);
            p.slot = p.slab->slot_at(offset);
            if (p.slot == p.slab->slots())
                why = Error::not_object;
            else if (p.slab->state() == SlabState::quarantined)
                why = Error::corrupt;
            return true;
        case PageState::run:
            if (offset % kPageBytes) why = Error::not_object;
            return true;
        case PageState::free:
        case PageState::cached: why = Error::already_free; return true;
        case PageState::run_part: why = Error::not_object; return true;
        case PageState::isolated: why = Error::no_region; return true;
        case PageState::body: break;
        }
        why = buddy_.why_no_run(p.page);
        return !ok(why);
    }

public:
    // Gives a run back whose owner word was just cleared; or keeps it, while I/O holds it.
    void free_run(Client<P>& client, PageNumber page, u64& bytes) {
        owners_.chain().unlink(client, chain_link(page, 0));
        const auto pages = held_ ? buddy_.run_pages(page) : buddy_.free_run(page);
        if (!pages) return;
        bytes += *pages * kPageBytes;
        if (!held_) return;
        if (held_->is_held(value(page) * kPageBytes, *pages * kPageBytes))
            held_->keep(page, *pages);
        else
            (void)buddy_.free_run(page);
    }

    // What was another client's before is zeroed where the pool says so.
    void finish_grants(Offset* out, u32 n, u64 unit) {
        if (!config_.zero_on_regrant) return;  // then owners_ tells of none
        for (u32 i = 0; i < n; ++i) {
            if (!(out[i] & Slabs::kForeign)) continue;
            out[i] &= ~Slabs::kForeign;
            P::zero(config_.os, out[i], unit);
        }
    }

    // For how many of n objects a fixed pool has room; all of them in a heap.
    u32 reserve_objects(u32 n) {
        if (!config_.fixed) return n;
        u64 live = fixed_live_.load(std::memory_order_relaxed);
        for (;;) {
            const u64 room = config_.object_count - live;
            const u32 fits = n < room ? n : static_cast<u32>(room);
            if (!fits || fixed_live_.compare_exchange_weak(live, live + fits,
                                                           std::memory_order_acquire,
                                                           std::memory_order_relaxed))
                return fits;
        }
    }

private:
    Granted take_slots(Client<P>& client, const Route& r, u32 n, Offset* out, Context context,
                       bool can_grow, Offset near) {
        Granted g;
        bool reclaimed = false;
        for (;;) {
            {
                ReadGuard<P> reader;
                g.done += slabs_.take(r.c, n - g.done, client, out + g.done, false, near);
            }
            if (g.done == n) break;
            if (config_.fixed) {
                g.why = Error::pool_full;
            } else {
                g.why = slabs_.add_slab(r.c, Zone::normal, context, config_.zero_on_regrant);
                if (ok(g.why)) continue;
            }
            if (near == kApart) {
                near = kAnywhere;
                continue;
            }
            if (!reclaimed && !config_.fixed) {
                reclaimed = true;
                if (reclaim()) continue;
            }
            if (!can_grow || config_.fixed) {
                ReadGuard<P> reader;
                g.done += slabs_.take(r.c, n - g.done, client, out + g.done, true);
                if (g.done == n) g.why = Error::none;
            } else if (g.why == Error::pool_full || g.why == Error::uninitialised) {
                g.why = Error::needs_pages;
                g.pages = pages_of(kSizeClasses[r.c].order);
            }
            break;
        }
        if (g.done == n) g.why = Error::none;
        if (g.why == Error::uninitialised) g.why = Error::pool_full;
        finish_grants(out, g.done, r.unit);
        return g;
    }

    // Idle slabs, and what I/O has let go, to the buddy; answers whether there was any.
    bool reclaim() {
        bool any;
        {
            ReadGuard<P> reader;
            any = slabs_.reclaim_all() != 0;
        }
        return (held_ && held_->recheck()) || any;
    }

    Granted take_runs(Client<P>& client, const Route& r, u32 n, Offset* out, bool can_grow) {
        Granted g;
        bool reclaimed = false;
        while (g.done < n) {
            const auto page = buddy_.alloc_exact(r.pages, Zone::normal, r.align);
            if (!page) {
                g.why = page.error();
                if (!reclaimed) {
                    reclaimed = true;
                    if (reclaim()) continue;
                }
                if (can_grow && (g.why == Error::pool_full || g.why == Error::uninitialised)) {
                    const u64 aligned = pages_of(r.align);
                    g.why = Error::needs_pages;
                    g.pages = r.pages < aligned ? aligned : r.pages;
                } else if (g.why == Error::uninitialised) {
                    g.why = Error::pool_full;
                }
                return g;
            }
            const Offset offset = value(*page) * kPageBytes;
            if (config_.zero_on_regrant) P::zero(config_.os, offset, r.unit);
            ReadGuard<P> reader;
            PageDesc* desc = buddy_.find(*page);
            owners_.chain().push(client, chain_link(*page, 0));
            desc->run().owner.store(client.index(), std::memory_order_release);
            out[g.done++] = offset;
        }
        g.why = Error::none;
        return g;
    }

    struct Freed {
        u64 bytes = 0;
        u32 kept = 0;  // objects that have other holders
    };
    Error free_one(Client<P>& client, Offset offset, typename Slabs::Homing& homing, Freed& freed,
                   Refusal& refusal, NearSlab<SlabT>& near) {
        refusal = {offset, 0};
        const auto place = locate(offset);
        if (!place) return place.error();
        if (place->slab) {
            ClientIndex owner = kNobody;
            const Error e = held_ ? free_or_keep(client, offset, *place, homing, freed, owner)
                                  : owners_.release(*place->slab, place->slot, client, owner);
            if (!ok(e) && owner == kCommons) return drop_share(client, offset, *place, homing, freed);
            if (!ok(e)) return owner == kKeeper ? Error::already_free : blame(refusal, owner, e);
            freed.bytes += place->slab->size_class().slot_bytes;
            if (held_) return Error::none;
            homing.add(*place->slab, place->slot);
            near.note(*place->slab, client.index());
            return Error::none;
        }
        ClientIndex owner = client.index();
        if (held_ && owner_at(*place) == owner && !held_->may_leave(offset, bytes_of(*place)))
            return Error::busy;
        if (!place->desc->run().owner.compare_exchange_strong(
                owner, kNobody, std::memory_order_acq_rel, std::memory_order_acquire))
            return is_free(owner)     ? Error::already_free
                   : owner == kCommons ? drop_share(client, offset, *place, homing, freed)
                                       : blame(refusal, owner, Error::not_owner);
        free_run(client, place->page, freed.bytes);
        return Error::none;
    }

    // Nobody's, but for the pool's own keeping.
    static bool is_free(ClientIndex owner) { return owner == kNobody || owner == kKeeper; }
    // A slot, where I/O may hold it: then it becomes the keeper's. Its neighbours are asked for
    // one by one, so no near slab is noted. Errors: as ClientOwners::release; busy.
    Error free_or_keep(Client<P>& client, Offset offset, const Place& place,
                       typename Slabs::Homing& homing, Freed& freed, ClientIndex& owner) {
        SlabT& slab = *place.slab;
        const u64 bytes = slab.size_class().slot_bytes;
        if (bytes > kMaxSlot && owner_at(place) == client.index()) {
            if (!held_->may_leave(offset, bytes)) return Error::busy;
            if (held_->is_held(offset, bytes)) {
                const Error e = held_->keep_slot(slab, place.slot, client, owner);
                freed.kept += ok(e);
                return e;
            }
        }
        const Error e = owners_.release(slab, place.slot, client, owner);
        if (ok(e)) homing.add(slab, place.slot);
        return e;
    }

    Error drop_share(Client<P>& client, Offset offset, const Place& place,
                     typename Slabs::Homing& homing, Freed& freed) {
        const u64 bytes = bytes_of(place);
        bool last = false;
        if (!shares_.drop(offset, client, last)) return Error::not_owner;
        freed.bytes += bytes;
        if (last)
            free_shared(offset, homing);
        else
            ++freed.kept;
        return Error::none;
    }

    Error blame(Refusal& refusal, ClientIndex owner, Error e) {
        if (Client<P>* client = clients_.find(owner)) refusal.owner = client->id();
        return e;
    }

    PoolConfig config_;
    SizeClass fixed_class_;
    Buddy<P> buddy_;
    ClientTable<P> clients_;
    Overflow<P> overflow_;
    Shares<P> shares_;
    Policy owners_;
    Slabs slabs_;
    RangePool<P>* ranges_ = nullptr;
    HeldObjects<P>* held_ = nullptr;
    std::atomic<u64> fixed_live_{0};  // objects that clients of a fixed pool own, or reserve
    MagazineCensus census_;
};

}  // namespace quarry
