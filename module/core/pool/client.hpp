// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A client of a pool: a name, a limit, two counts, and the head of the chain of what
// it owns (chain.hpp). It lives in the pool's object cache and has its own box: so
// that it can go home when the last reader has left it, whatever became of the pool.
//
//   bytes_    reserved before a grant, given back after a free: never above the
//             limit, even for an instant                          relaxed
//   objects_  follows                                             relaxed
#pragma once

#include <atomic>

#include "../object/box.hpp"
#include "../platform/platform.hpp"
#include "../slabs/size_class.hpp"

namespace quarry {

// A link of a chain: the page number of a slab or run, and the slab's dictionary entry
// (0: a run). Pools with owners have at most 2^28 pages less one.
using ChainLink = u32;
inline constexpr ChainLink kNoLink = 0xffffffff;
inline constexpr ChainLink kUnlinked = 0xfffffffe;
constexpr ChainLink chain_link(PageNumber page, u32 entry) {
    return static_cast<u32>(value(page)) << 4 | entry;
}
constexpr PageNumber chain_page(ChainLink link) { return PageNumber{link >> 4}; }
constexpr u32 chain_entry(ChainLink link) { return link & 15; }

// What became of a batch.
struct PoolGranted {
    u32 done = 0;
    Error why = Error::none;
    u64 pages = 0;  // with needs_pages: contiguous pages that would help
};
// Which object was refused, and whose it is.
struct PoolRefusal {
    Offset offset = 0;
    u64 owner = 0;  // client id, or 0
};

template <Platform P>
class ClientMagazines;  // client_magazines.hpp
template <Platform P>
class Reserves;  // reserves.hpp

// Aligned, so that neighbours in a page share no line: each is its own task's.
template <Platform P>
class alignas(64) Client {
public:
    // In the kernel it goes home by RCU, from a softirq: so the cache's lock is the platform's.
    using CacheLock = PlatformLock<P, QUARRY_LOCK_OBJECTS>;
    static constexpr std::size_t kSlabBytes = 4096;
    using Home = Box<Client, CacheLock, kSlabBytes>;

    Client(void* pool, ClientIndex index, u64 id, u64 limit)
        : pool_(pool), limit_(limit), id_(id), index_(index) {
        for (u32& hint : slab_hint) hint = kNoLink;
    }

    void* pool() const { return pool_; }
    ClientIndex index() const { return index_; }
    u64 id() const { return id_; }
    u64 limit() const { return limit_; }
    u64 objects() const { return objects_.load(std::memory_order_relaxed); }
    u64 bytes() const { return bytes_.load(std::memory_order_relaxed); }

    // Reserves room for up to n objects of `unit` bytes; answers for how many.
    u32 reserve(u32 n, u64 unit) {
        if (!limit_) {
            bytes_.fetch_add(n * unit, std::memory_order_relaxed);
            return n;
        }
        u64 now = bytes_.load(std::memory_order_relaxed);
        for (;;) {
            const u64 room = now < limit_ ? limit_ - now : 0;
            const u64 fits = n * unit <= room ? n : room / unit;
            if (!fits) return 0;
            if (bytes_.compare_exchange_weak(now, now + fits * unit, std::memory_order_relaxed))
                return static_cast<u32>(fits);
        }
    }
    // For what it holds already, whatever its limit.
    void reserve_beyond(u32 n, u64 unit) { bytes_.fetch_add(n * unit, std::memory_order_relaxed); }
    void unreserve(u64 bytes) { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
    void count_granted(u64 objects) { objects_.fetch_add(objects, std::memory_order_relaxed); }
    void count_freed(u64 objects, u64 bytes) {
        objects_.fetch_sub(objects, std::memory_order_relaxed);
        unreserve(bytes);
    }

    // From here on it lasts until leave().
    void keep(Home&& home) { leaving_.home = std::move(home); }
    // No new reader finds it. It is destroyed when the present ones have left.
    void leave() { P::after_readers(&leaving_.after, go_home); }

private:
    struct Leaving {
        quarry_os_after after;
        Home home;
    };
    static_assert(std::is_standard_layout_v<Leaving>, "a pointer to it is one to its first member");

    static void go_home(quarry_os_after* after) {
        const Home home = std::move(reinterpret_cast<Leaving*>(after)->home);
    }

    void* pool_;
    u64 limit_;

public:
    typename P::Lock lock{QUARRY_LOCK_CLIENT};
    ChainLink head = kNoLink;   // under `lock`; range pools: a node's number, under their lock
    u32 overflow_entries = 0;   // under the overflow lock
    u32 shares = 0;             // the first of its records there (shares.hpp), under their lock
    u32 slab_hint[kClasses];    // page of the slab last granted from, under its class lock
    std::atomic<ClientMagazines<P>*> magazines{nullptr};  // set once; null: it has none
    std::atomic<Reserves<P>*> reserves{nullptr};          // likewise; under `lock`

private:
    u64 id_;
    std::atomic<u64> bytes_{0};
    std::atomic<u64> objects_{0};
    Leaving leaving_{};
    ClientIndex index_;
};

}  // namespace quarry
