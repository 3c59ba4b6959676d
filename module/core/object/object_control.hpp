// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What the handles and boxes of one object cache share: the lock, the slabs, the counts.
// It goes, and with it the last slab, when the last handle or box does.
//
// A slab is partial (an open slot at least) or full, in the list of its kind. Of empty
// slabs one at most is kept, last in the list of partial ones unless it is alone there; a
// second goes back at once. So a user at the edge of a slab does not make and give back a
// slab with each step.
//
//   holders_  handles and objects (in boxes, raw or being made). Who brings it to 0 is
//             alone with the control block, and frees all
//   limit_    most holders: the capacity and the handles
//
// Each operation is one hold of the lock, O(1); adopt and whatever makes or gives back a
// slab O(log slabs). Hooks, constructors and destructors run outside it.
#pragma once

#include "../base/audit.hpp"
#include "locks.hpp"
#include "object_slab.hpp"

namespace quarry {

// As a capacity: no bound.
inline constexpr u64 kUnbounded = ~u64{0};

template <typename T, typename Lock, std::size_t SlabBytes>
class alignas(64) ObjectControl {
public:
    using Slab = ObjectSlab<T, Lock, SlabBytes>;
    using Partial = List<Slab, &Slab::list>;
    static constexpr u32 kSlots = Slab::kSlots;

    struct Place {
        T* object;
        Slab* slab;
    };

    // One handle, no slab. Errors: no_memory.
    static Result<ObjectControl*> make(u64 capacity, Context context) {
        void* memory = object_meta_alloc(sizeof(ObjectControl), context);
        if (!memory) return Error::no_memory;
        auto* control = new (memory) ObjectControl(capacity);
        if constexpr (requires { control->lock_.init(context); }) {
            if (const Error e = control->lock_.init(context); !ok(e)) {
                control->~ObjectControl();
                object_meta_free(memory, sizeof(ObjectControl));
                return e;
            }
        }
        return control;
    }

    // ---- slots ----

    // A slot for an object to be made in, from a slab that is there: no object when there is
    // none, or no room. Then grow() says which, or makes one.
    Place take() {
        const auto state = lock_.lock();
        Place place{};
        if (holders_ < limit_ && !partial_.empty()) [[likely]]
            place = take_first();
        lock_.unlock(state);
        return place;
    }

    // A slot of a slab that is made outside the lock, for us or for whoever comes first.
    // Errors: pool_full, no_memory.
    [[gnu::noinline, gnu::cold]] Result<Place> grow(Context context) {
        auto state = lock_.lock();
        const bool full = holders_ >= limit_;
        lock_.unlock(state);
        if (full) return Error::pool_full;
        Slab* fresh = make_slab(context);
        state = lock_.lock();
        if (fresh && partial_.empty() && holders_ < limit_) {
            fresh->set_control(*this);
            partial_.push_front(*fresh);
            tree_.insert(*fresh);
            ++slabs_;
            fresh = nullptr;
        }
        Result<Place> answer = Error::no_memory;
        if (holders_ >= limit_)
            answer = Error::pool_full;
        else if (!partial_.empty())
            answer = take_first();
        lock_.unlock(state);
        if (fresh) free_slab(fresh);
        return answer;
    }

    // The slot of an object that is no more, or was never made. Whoever calls is a holder
    // by that object, and none afterwards.
    void put(Slab& slab, const T* object) {
        const u32 slot = slab.slot_of(object);
        const auto state = lock_.lock();
        if (!slab.put(slot)) [[unlikely]] {
            ++strays_;
            lock_.unlock(state);
            return;
        }
        --holders_;
        // The common cases first: neither was it full, nor the last holder ...
        if (slab.live() == kSlots - 1 || holders_ == 0) [[unlikely]]
            return settle(slab, state);
        // ... and if it is empty, it may stay where it is.
        if (slab.live() == 0) {
            if (spare_ || partial_.after(slab)) [[unlikely]]
                return settle(slab, state);
            spare_ = &slab;
        }
        lock_.unlock(state);
    }

    // ---- handles ----

    void add_handle() {
        Guard guard(lock_);
        ++handles_;
        ++holders_;
        if (capacity_ != kUnbounded) ++limit_;
    }
    void drop_handle() {
        const auto state = lock_.lock();
        --handles_;
        if (capacity_ != kUnbounded) --limit_;
        const bool last = --holders_ == 0;
        lock_.unlock(state);
        if (last) end();
    }

    // ---- raw objects ----

    void give_up(Slab& slab, const T* object) {
        Guard guard(lock_);
        slab.set_raw(slab.slot_of(object), true);
    }
    // The slab of a raw object, which is raw no more. Errors: invalid_pointer (no slot of
    // this cache begins there), already_free, not_owner (a box has it).
    Result<Slab*> adopt(const T* object) {
        Guard guard(lock_);
        Slab* slab = tree_.find(object);
        if (!slab) return Error::invalid_pointer;
        const u64 distance =
            reinterpret_cast<u64>(object) - reinterpret_cast<u64>(slab->base());
        const u64 slot = distance / sizeof(T);
        if (slot >= kSlots || slot * sizeof(T) != distance) return Error::invalid_pointer;
        if (!slab->in_use(static_cast<u32>(slot))) return Error::already_free;
        if (!slab->raw(static_cast<u32>(slot))) return Error::not_owner;
        slab->set_raw(static_cast<u32>(slot), false);
        return slab;
    }

    // ---- counts ----

    struct Counts {
        u64 live;
        u64 handles;
        u64 capacity;
        u64 slabs;
        u64 strays;
    };
    Counts counts() {
        Guard guard(lock_);
        return {holders_ - handles_, handles_, capacity_, slabs_, strays_};
    }

    // Returns the spare slab, if there is one. Answers how many.
    u64 shrink() {
        Slab* spare = nullptr;
        {
            Guard guard(lock_);
            if ((spare = spare_)) unlink(*spare);
            spare_ = nullptr;
        }
        if (spare) free_slab(spare);
        return spare != nullptr;
    }

    // Under the lock: O(slots).
    void verify(Audit& audit) {
        Guard guard(lock_);
        u64 live = 0;
        u64 slabs = 0;
        const auto look = [&](Slab& slab, bool full) {
            const Offset where = reinterpret_cast<u64>(slab.base());
            audit.saw_slab();
            audit.saw_objects(slab.live());
            ++slabs;
            live += slab.live();
            if (slab.live() == 0)
                audit.expect(&slab == spare_, "an empty slab is no spare", where);
            else
                audit.expect(&slab != spare_, "the spare slab is not empty", where);
            audit.expect(&slab.control() == this, "a slab names another cache", where);
            audit.expect(slab.full() == full, "a slab is in the wrong list", where);
            audit.expect(slab.sound(), "a slab's bits contradict its count", where);
            audit.expect(SlabTree<Slab>::sound(slab), "the tree is out of order", where);
            audit.expect(tree_.find(slab.base()) == &slab, "the tree misses a slab", where);
        };
        for (Slab* slab = partial_.front(); slab; slab = partial_.after(*slab)) look(*slab, false);
        for (Slab* slab = full_.front(); slab; slab = full_.after(*slab)) look(*slab, true);
        const Offset here = reinterpret_cast<u64>(this);
        audit.expect(live == holders_ - handles_, "live objects are miscounted", here);
        audit.expect(slabs == slabs_, "slabs are miscounted", here);
        audit.expect(!spare_ || !partial_.after(*spare_), "the spare slab is not last", here);
        audit.expect(live <= capacity_, "more objects than the capacity", here);
        audit.expect(holders_ <= limit_ && holders_ != 0, "holders are miscounted", here);
    }

private:
    explicit ObjectControl(u64 capacity)
        : limit_(capacity == kUnbounded ? kUnbounded : capacity + 1), capacity_(capacity) {}
    ~ObjectControl() = default;

    // Under the lock: there is a partial slab.
    Place take_first() {
        Slab* slab = partial_.front();
        if (slab == spare_) spare_ = nullptr;
        T* object = slab->at(slab->take());
        ++holders_;
        if (slab->full()) [[unlikely]] {
            Partial::remove(*slab);
            full_.push_front(*slab);
        }
        return {object, slab};
    }

    // After a put that made `slab` empty or partial, or was the last. Gives the lock back.
    template <typename State>
    [[gnu::noinline]] void settle(Slab& slab, State state) {
        Slab* spent = nullptr;
        if (slab.live() == kSlots - 1) {
            Partial::remove(slab);
            partial_.push_front(slab);
        }
        if (slab.live() == 0) {
            if (spare_) {
                unlink(slab);
                spent = &slab;
            } else {
                spare_ = &slab;
                Partial::remove(slab);
                partial_.push_back(slab);
            }
        }
        const bool last = holders_ == 0;
        lock_.unlock(state);
        if (spent) free_slab(spent);
        if (last) end();
    }

    void unlink(Slab& slab) {
        Partial::remove(slab);
        tree_.remove(slab);
        --slabs_;
    }

    // Nobody else holds this. All slabs are empty: there is one at most.
    [[gnu::noinline, gnu::cold]] void end() {
        while (Slab* slab = partial_.pop_front()) free_slab(slab);
        this->~ObjectControl();
        object_meta_free(this, sizeof(ObjectControl));
    }

    static Slab* make_slab(Context context) {
        void* memory = object_slab_alloc(SlabBytes, Slab::kAlign, context);
        if (!memory) return nullptr;
        void* meta = object_meta_alloc(sizeof(Slab), context);
        if (meta) return new (meta) Slab(memory);
        object_slab_free(memory, SlabBytes, Slab::kAlign);
        return nullptr;
    }
    static void free_slab(Slab* slab) {
        object_slab_free(slab->base(), SlabBytes, Slab::kAlign);
        slab->~Slab();
        object_meta_free(slab, sizeof(Slab));
    }

    [[no_unique_address]] Lock lock_;
    u64 holders_ = 1;
    u64 limit_;
    Partial partial_;
    Slab* spare_ = nullptr;  // the empty one
    Partial full_;
    u64 handles_ = 1;
    u64 capacity_;
    u64 slabs_ = 0;
    u64 strays_ = 0;
    SlabTree<Slab> tree_;
};

}  // namespace quarry
