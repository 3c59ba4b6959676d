// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Slabs by size class over a buddy: one bin a class, with its own lock, its lists of
// slabs by state, and the wait-free queue of slabs to which slots have come home.
//
//   take      slots out of slabs, 32 at most under one hold of the class lock
//   Homing    slots back, from any context, without a lock: an OR a bitmap word,
//             one flag a slab (slab.hpp)
//   collect   merges what came home, a word (32 slots) under one hold
//   add_slab  pages and metadata, outside every lock
//   reclaim   idle slabs back to the buddy
//
// A bin keeps kKeepIdle idle slabs, so that a batch that straddles two slabs does not
// rebuild one each round; reclaim takes these too, before anybody is told ENOMEM.
// Cost: take and Homing O(slots moved / 32 + words of a slab), whatever is live.
// (Bonwick 1994; the queue of slabs instead of objects: one link a slab, and no
// link in memory that a user can write.)
//
// Context: any, but every caller is pinned or a reader; add_slab as its context says.
#pragma once

#include "../pages/buddy.hpp"
#include "meta_reserve.hpp"
#include "slab.hpp"

namespace quarry {

template <Platform P, typename Policy>
class SlabAllocator {
public:
    using SlabT = Slab<Policy>;
    using Grantee = typename Policy::Grantee;
    static constexpr u32 kKeepIdle = 2;
    // Offsets are multiples of 8: take() says with this bit that the slot's last owner
    // was another one.
    static constexpr Offset kForeign = 1;

    // `classes` outlives this. `os` goes to the hooks. `keep_idle`: idle slabs that a
    // class keeps by itself; fixed pools keep all.
    SlabAllocator(Buddy<P>& buddy, Policy& policy, const SizeClass* classes, u32 count, void* os,
                  u32 keep_idle = kKeepIdle)
        : buddy_(buddy),
          policy_(policy),
          classes_(classes),
          count_(count),
          keep_idle_(keep_idle),
          os_(os) {}

    // Quiescent: nobody else uses this any more. Gives all slabs back.
    ~SlabAllocator() {
        if (!bins_) return;
        for (u32 c = 0; c < count_; ++c) {
            Bin& bin = bins_[c];
            for (auto* list : {&bin.partial, &bin.full, &bin.idle, &bin.quarantined})
                while (SlabT* slab = list->pop_front()) give_back(*slab);
            bin.~Bin();
        }
        P::meta_free(bins_, sizeof(Bin) * count_);
    }
    SlabAllocator(const SlabAllocator&) = delete;
    SlabAllocator& operator=(const SlabAllocator&) = delete;

    // Atomic callers of add_slab draw their metadata on it first. Its blocks hold any
    // slab of the classes, and it outlives this.
    void use_reserve(MetaReserve<P>& reserve) { reserve_ = &reserve; }
    static u64 largest_meta_bytes(const SizeClass* classes, u32 count) {
        u64 most = 0;
        for (u32 c = 0; c < count; ++c) {
            const u64 bytes = SlabT::meta_bytes(classes[c]);
            if (bytes > most) most = bytes;
        }
        return most;
    }

    // Context: task. Errors: no_memory, initialised.
    Error init() {
        if (bins_) return Error::initialised;
        void* memory = P::meta_alloc(sizeof(Bin) * count_, Context::may_sleep);
        if (!memory) return Error::no_memory;
        bins_ = static_cast<Bin*>(memory);
        for (u32 c = 0; c < count_; ++c) new (&bins_[c]) Bin;
        return Error::none;
    }

    u32 classes() const { return count_; }
    const SizeClass& size_class(u32 c) const { return classes_[c]; }
    void* os() const { return os_; }

    // Takes up to n slots of class c for `grantee`; answers how many. Looks at what is
    // granted already, then at what came home, then at idle slabs. `last_resort` lets
    // the policy use records that it saves for the end. `near`: what this CPU got last, or
    // kApart, so that what the CPUs of a grantee have lies apart (Slab::find_apart). With kApart
    // fewer may come although there are more: add a slab, or ask again for what lies anywhere.
    u32 take(u32 c, u32 n, Grantee& grantee, Offset* out, bool last_resort = false,
             Offset near = kAnywhere) {
        Bin& bin = bins_[c];
        u32 got = 0;
        Guard guard(bin.lock);
        while (got < n) {
            Free found;
            if (!choose(bin, c, n - got, grantee, last_resort, near, found)) {
                u32 home = 0;
                if (collect_one(bin, guard, home)) continue;
                SlabT* slab = bin.idle.front();
                if (!slab || !policy_.admit(*slab, grantee, last_resort)) {
                    if (near == kAnywhere || (near == kApart && policy_.is_spread(grantee, c)))
                        break;
                    near = kAnywhere;
                    continue;
                }
                (void)found.in(*slab, n - got, kAnywhere);
            }
            const u32 before = got;
            got += take_word(bin, found, grantee, out + got);
            if (got == before && last_resort) break;
            if (got < n) guard.cycle();
        }
        return got;
    }

    // Slots on their way home, gathered by word and slab. Everything that was added is
    // on its way when this is destroyed.
    class Homing {
    public:
        explicit Homing(SlabAllocator& slabs) : slabs_(slabs) {}
        ~Homing() { flush_slab(); }
        Homing(const Homing&) = delete;
        Homing& operator=(const Homing&) = delete;

        void add(SlabT& slab, SlotIndex slot) { add_word(slab, slot / 32, u32{1} << slot % 32); }

        void add_word(SlabT& slab, u32 word, u32 bits) {
            if (&slab != slab_) {
                flush_slab();
                slab_ = &slab;
                word_ = word;
            } else if (word != word_) {
                flush_word();
                word_ = word;
            }
            const u32 twice = bits_ & bits;
            if (twice) slabs_.report(QUARRY_CORRUPT_DOUBLE_HOME, slab, word, twice);
            bits_ |= bits;
        }

    private:
        void flush_word() {
            if (!bits_) return;
            const u32 twice = slab_->come_home(word_, bits_);
            if (twice) slabs_.report(QUARRY_CORRUPT_DOUBLE_HOME, *slab_, word_, twice);
            moved_ += popcount(bits_ & ~twice);
            bits_ = 0;
        }
        void flush_slab() {
            if (!slab_) return;
            flush_word();
            // After the OR, the slab may be anywhere; only a claimed one is ours to queue.
            const u32 slot_bytes = slab_->size_class().slot_bytes;
            const Offset base = slab_->base();
            {
                // Stopped between the two parts of a push, this would hide what others bring home.
                PinGuard<P> pin;
                if (slab_->claim_pending())
                    slabs_.bins_[slab_->class_index()].homecoming.push(slab_->queue);
            }
            P::trace_remote_free(slabs_.os_, slot_bytes, base, moved_);
            slab_ = nullptr;
            moved_ = 0;
        }

        SlabAllocator& slabs_;
        SlabT* slab_ = nullptr;
        u32 word_ = 0;
        u32 bits_ = 0;
        u32 moved_ = 0;
    };

    // Merges everything that came home to class c; answers how many slots.
    u32 collect(u32 c) {
        Bin& bin = bins_[c];
        if (bin.homecoming.looks_empty()) return 0;
        u32 slots = 0;
        Guard guard(bin.lock);
        // Each slab is queued once: no more than were there, however many others free meanwhile.
        for (u32 left = bin.slabs; left && collect_one(bin, guard, slots); --left) guard.cycle();
        return slots;
    }

    // One more slab of class c. `zero`: its slots shall be zeroed first. Errors:
    // pool_full, too_large (from the buddy), no_memory.
    Error add_slab(u32 c, Zone zone, Context context, bool zero = false) {
        const SizeClass& size_class = classes_[c];
        auto block = buddy_.alloc(size_class.order, zone);
        if (!block) return block.error();
        u64 bytes = SlabT::meta_bytes(size_class);
        void* memory = nullptr;
        if (reserve_ && context == Context::atomic && (memory = reserve_->take()))
            bytes = reserve_->block_bytes();
        else
            memory = P::meta_alloc(bytes, context);
        if (!memory) {
            (void)buddy_.free(*block, size_class.order);
            return Error::no_memory;
        }
        const Offset base = value(*block) * kPageBytes;
        auto* slab = new (memory) SlabT(base, static_cast<u8>(c), size_class, bytes);
        if (zero) P::zero(os_, base, size_class.slab_bytes());
        if constexpr (requires { Policy::begin(*slab); }) Policy::begin(*slab);
        u64 word = 0;
        if constexpr (requires { Policy::page_word(*slab); }) word = Policy::page_word(*slab);
        buddy_.mark_slab(*block, size_class.order, slab, static_cast<u8>(c), word);
        if constexpr (requires { policy_.made(*slab, os_); }) policy_.made(*slab, os_);
        P::trace_slab_create(os_, size_class.slot_bytes, base, size_class.slab_bytes());

        Bin& bin = bins_[c];
        Guard guard(bin.lock);
        bin.idle.push_front(*slab);
        ++bin.idle_count;
        ++bin.slabs;
        bin.free += size_class.slots;
        meta_bytes_.fetch_add(bytes, std::memory_order_relaxed);
        return Error::none;
    }

    // Gives idle slabs of class c back to the buddy; answers how many.
    u32 reclaim(u32 c) {
        collect(c);
        Bin& bin = bins_[c];
        u32 given = 0;
        Guard guard(bin.lock);
        for (u32 left = bin.idle_count; left && bin.idle_count; --left) {
            SlabT* slab = bin.idle.front();
            if (kill(bin, *slab, guard)) {
                ++given;
            } else {  // somebody steps through it, or is about to queue it
                bin.idle.remove(*slab);
                bin.idle.push_back(*slab);
            }
        }
        return given;
    }
    u32 reclaim_all() {
        u32 given = 0;
        for (u32 c = 0; c < count_; ++c) given += reclaim(c);
        return given;
    }

    // ---- for those who step through a slab with the lock released between ----

    typename P::Lock& lock_of(u32 c) { return bins_[c].lock; }
    // Under the lock: keeps the slab from dying. False: it is dead already.
    bool pin(SlabT& slab) {
        if (slab.state() == SlabState::dead) return false;
        slab.pin();
        return true;
    }
    void unpin(SlabT& slab) { slab.unpin(); }

    // Under the lock: nothing is taken from this slab again.
    void quarantine(SlabT& slab) {
        if (slab.state() == SlabState::quarantined || slab.state() == SlabState::dead) return;
        Bin& bin = bins_[slab.class_index()];
        bin.free -= slab.free();
        move(bin, slab, SlabState::quarantined);
    }

    struct ClassCount {
        u32 slabs;
        u64 taken;
        u64 free;
    };
    ClassCount count(u32 c) {
        collect(c);
        Bin& bin = bins_[c];
        Guard guard(bin.lock);
        return {bin.slabs, u64{bin.slabs} * classes_[c].slots - bin.free, bin.free};
    }
    // Without collecting first.
    u32 slab_count(u32 c) {
        Guard guard(bins_[c].lock);
        return bins_[c].slabs;
    }
    u64 meta_bytes() const {
        return meta_bytes_.load(std::memory_order_relaxed) + sizeof(Bin) * count_;
    }

    void report(quarry_corruption what, SlabT& slab, u32 word, u32 bits) {
        for (; bits; bits &= bits - 1)
            P::corruption(os_, what, slab.offset_of(word * 32 + lowest_bit(bits)), 0);
    }

private:
    using SlabList = List<SlabT, &SlabT::list>;

    struct alignas(64) Bin {
        typename P::Lock lock{QUARRY_LOCK_CLASS};
        SlabList partial;
        SlabList full;
        SlabList idle;
        SlabList quarantined;
        u32 slabs = 0;
        u32 idle_count = 0;
        u64 free = 0;  // slots at home, in slabs that are not quarantined
        WaitFreeQueue homecoming;
    };

    SlabList& list_of(Bin& bin, SlabState state) {
        switch (state) {
        case SlabState::partial: return bin.partial;
        case SlabState::full: return bin.full;
        case SlabState::idle: return bin.idle;
        default: return bin.quarantined;
        }
    }

    void move(Bin& bin, SlabT& slab, SlabState to) {
        SlabList::remove(slab);
        if (slab.state() == SlabState::idle) --bin.idle_count;
        slab.set_state(to);
        if (to == SlabState::dead) return;
        if (to == SlabState::idle) ++bin.idle_count;
        // Fresh homecomers are warm: first.
        list_of(bin, to).push_front(slab);
    }

    // Puts the slab where its count says; true when it was killed (the lock was released).
    bool settle(Bin& bin, SlabT& slab, Guard<typename P::Lock>& guard) {
        if (slab.state() == SlabState::quarantined || slab.state() == SlabState::dead) return false;
        const SlabState now = slab.free() == slab.slots() ? SlabState::idle
                              : slab.free() == 0          ? SlabState::full
                                                          : SlabState::partial;
        if (now != slab.state()) move(bin, slab, now);
        return now == SlabState::idle && bin.idle_count > keep_idle_ && kill(bin, slab, guard);
    }

    // An idle slab goes back to the buddy. False: it may not die now.
    bool kill(Bin& bin, SlabT& slab, Guard<typename P::Lock>& guard) {
        if (slab.pinned() || !slab.claim_pending()) return false;
        policy_.forget(slab);
        move(bin, slab, SlabState::dead);
        --bin.slabs;
        bin.free -= slab.slots();
        guard.release();
        give_back(slab);
        guard.acquire();
        return true;
    }

    // Nobody can find the slab any more but readers that have found it already.
    void give_back(SlabT& slab) {
        const SizeClass& size_class = slab.size_class();
        const PageNumber first{slab.base() / kPageBytes};
        if constexpr (requires { policy_.gone(slab, os_); }) policy_.gone(slab, os_);
        P::trace_slab_destroy(os_, size_class.slot_bytes, slab.base(), size_class.slab_bytes());
        buddy_.unmark_slab(first, size_class.order);
        meta_bytes_.fetch_sub(slab.block_bytes(), std::memory_order_relaxed);
        P::meta_retire(&slab, slab.block_bytes());
        (void)buddy_.free(first, size_class.order);
    }

    // Free slots of one word.
    struct Free {
        SlabT* slab = nullptr;
        u32 word = 0;
        u32 bits = 0;

        // Up to n of this slab. False: it has none.
        bool in(SlabT& s, u32 n, Offset near) {
            slab = &s;
            if (n > kStepSlots) n = kStepSlots;
            if (near == kAnywhere) {
                bits = s.find_free(n, word);
            } else {
                const bool here = near - s.base() < s.size_class().slab_bytes();
                bits = s.find_apart(n, word, here ? s.slot_at(near) / 32 : s.words());
            }
            return bits != 0;
        }
    };

    // In a partial slab that may serve the grantee; false: in none at hand.
    bool choose(Bin& bin, u32 c, u32 n, Grantee& grantee, bool last_resort, Offset near, Free& found) {
        if constexpr (requires { policy_.preferred(grantee, c, near); }) {
            SlabT* own = policy_.preferred(grantee, c, near);
            if (own && own->state() == SlabState::partial && found.in(*own, n, near) &&
                policy_.admit(*own, grantee, false))
                return true;
        }
        // Those at the front that cannot serve this one go behind; four a call, or all
        // of them when it is the last resort.
        SlabT* first = bin.partial.front();
        SlabT* slab = first;
        for (u32 tries = 0; slab && (tries < 4 || last_resort); ++tries) {
            if (found.in(*slab, n, near) && policy_.admit(*slab, grantee, last_resort)) return true;
            SlabList::remove(*slab);
            bin.partial.push_back(*slab);
            slab = bin.partial.front();
            if (slab == first) break;
        }
        return false;
    }

    u32 take_word(Bin& bin, const Free& found, Grantee& grantee, Offset* out) {
        SlabT& slab = *found.slab;
        const u32 word = found.word;
        const u32 bits = found.bits;
        slab.take(word, bits);
        const auto grant = policy_.grant(slab, word, bits, grantee);
        if (grant.duplicates) report(QUARRY_CORRUPT_DUPLICATE, slab, word, grant.duplicates);
        const u32 refused = bits & ~grant.granted & ~grant.duplicates;
        if (refused) slab.put_back(word, refused);
        bin.free -= popcount(bits & ~refused);
        const SlabState now = slab.free() == 0 ? SlabState::full
                              : slab.free() == slab.slots() ? SlabState::idle
                                                            : SlabState::partial;
        if (now != slab.state()) move(bin, slab, now);
        const u64 step = slab.size_class().slot_bytes;
        Offset next = slab.offset_of(word * 32) | (grant.foreign ? kForeign : 0);
        // Mostly neighbours, often all: no search for each.
        if (grant.granted == ~u32{0}) {
#pragma GCC unroll 8
            for (u32 i = 0; i < 32; ++i, next += step) out[i] = next;
            return 32;
        }
        u32 got = 0;
        for (u32 left = grant.granted; left; left >>= 1, next += step)
            if (left & 1) out[got++] = next;
        return got;
    }

    // Merges one queued slab; `slots` counts. False: none is queued.
    bool collect_one(Bin& bin, Guard<typename P::Lock>& guard, u32& slots) {
        QueueNode* node = bin.homecoming.pop();
        if (!node) return false;
        SlabT& slab = *SlabT::from_queue(node);
        slab.clear_pending();
        slab.pin();
        for (u32 w = 0; w < slab.words(); ++w) {
            if (!slab.remote()[w].load(std::memory_order_seq_cst)) continue;
            slots += merge(bin, slab, w);
            guard.cycle();
        }
        slab.unpin();
        settle(bin, slab, guard);
        return true;
    }

    // One word comes home. What was never out, or is owned again, is dropped and reported.
    u32 merge(Bin& bin, SlabT& slab, u32 w) {
        u32 bits = slab.remote()[w].exchange(0, std::memory_order_seq_cst);
        const u32 stray = bits & ~(slab.taken()[w] & slab.valid(w));
        bits &= ~stray;
        const u32 home = policy_.free_of_marks(slab, w, bits);
        const u32 dropped = stray | (bits & ~home);
        if (dropped) {
            report(QUARRY_CORRUPT_STRAY_HOME, slab, w, dropped);
            if constexpr (Policy::kStrayIsCorruption) quarantine(slab);
        }
        slab.put_back(w, home);
        if (slab.state() != SlabState::quarantined) {
            bin.free += popcount(home);
            if (slab.state() == SlabState::full) move(bin, slab, SlabState::partial);
        }
        return popcount(home);
    }

    Buddy<P>& buddy_;
    Policy& policy_;
    const SizeClass* classes_;
    u32 count_;
    u32 keep_idle_;
    void* os_;
    Bin* bins_ = nullptr;
    MetaReserve<P>* reserve_ = nullptr;
    std::atomic<u64> meta_bytes_{0};
};

}  // namespace quarry
