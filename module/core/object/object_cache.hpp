// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// ObjectCache<T, Lock, SlabBytes>: a handle of a typed cache of objects, which grows by
// slabs of SlabBytes and makes objects that own themselves (Box).
//
//   #include "module/core/object/object_cache.hpp"
//   // The build supplies quarry::object_slab_alloc, object_slab_free, object_meta_alloc
//   // and object_meta_free (hooks.hpp).
//
//   struct Session {
//       explicit Session(int id) : id(id) {}
//       int id;
//   };
//   using Sessions = quarry::ObjectCache<Session, quarry::SpinLock>;
//
//   quarry::Error serve() {
//       auto cache = Sessions::create();
//       if (!cache) return cache.error();
//       auto session = cache->make(7);
//       if (!session) return session.error();
//       Sessions::Box box = *std::move(session);
//       Sessions other = *cache;     // a second handle: counted, a pointer
//       box->id = 8;
//       return quarry::Error::none;  // box, other and cache may go in any order
//   }
//
// T       any size and alignment up to SlabBytes; need not be default-constructible, nor
//         copied or moved. ~T runs outside the lock, on the thread that drops.
// Lock    a LockPolicy (locks.hpp): NoLock, SpinLock, IrqSpinLock, or one's own.
// Bytes   a power of two, a page at least and one T: 4096 or eight objects by default.
//
// Guarantees
// - Nothing of the cache's own lies in a slab: a write past an object reaches another
//   object at worst, and a second drop of one is counted and changes nothing.
// - Empty slabs go back, all but one. The last holder, a handle or a box, frees the rest.
// - A make that fails leaves no object behind, whatever failed.
//
// Costs: make and drop one hold of the lock each (with SpinLock one locked instruction);
// free slots are found in O(1). Out of line for each slab: a bit for a slot, one more for
// those that are raw, and about 100 bytes.
//
// A handle is one pointer. Different handles and boxes may be used at a time from
// different threads; one of them, by one at a time (with NoLock: all of them).
// After Bonwick 1994 (slabs, empty ones kept back), with the descriptors apart.
#pragma once

#include "box.hpp"
#include "made.hpp"

namespace quarry {

template <typename T, std::size_t SlabBytes>
inline constexpr bool is_slab_for = is_power_of_two(SlabBytes) && SlabBytes >= 4096 &&
                                    sizeof(T) <= SlabBytes && alignof(T) <= SlabBytes &&
                                    SlabBytes / sizeof(T) <= std::size_t{1} << 18;

template <typename T, typename Lock = SpinLock, std::size_t SlabBytes = default_slab_bytes<T>>
class ObjectCache {
    static_assert(std::is_object_v<T> && !std::is_array_v<T>);
    static_assert(std::is_nothrow_destructible_v<T>);
    static_assert(LockPolicy<Lock>, "a policy is default-constructible, at most 16 bytes, and "
                                    "its unlock() takes what its lock() returns");
    static_assert(is_slab_for<T, SlabBytes>, "SlabBytes is a power of two, a page at least, "
                                             "and holds from one T to 2^18");

    using Control = ObjectControl<T, Lock, SlabBytes>;
    using Slab = typename Control::Slab;
    using Place = typename Control::Place;

public:
    using Box = quarry::Box<T, Lock, SlabBytes>;
    // Objects in one slab.
    static constexpr u32 kSlots = Control::kSlots;

    // A cache without slabs, of at most `capacity` objects. Context: by `context`.
    // Errors: no_memory.
    static Made<ObjectCache> create(u64 capacity = kUnbounded,
                                    Context context = Context::may_sleep) {
        const auto control = Control::make(capacity, context);
        if (!control) return control.error();
        return ObjectCache(*control);
    }

    // No cache: what a moved-from handle is. Only destroyed and assigned to.
    constexpr ObjectCache() = default;
    ObjectCache(const ObjectCache& other) : control_(other.control_) {
        if (control_) control_->add_handle();
    }
    ObjectCache(ObjectCache&& other) noexcept
        : control_(std::exchange(other.control_, nullptr)) {}
    ObjectCache& operator=(ObjectCache other) noexcept {
        std::swap(control_, other.control_);
        return *this;
    }
    ~ObjectCache() {
        if (control_) control_->drop_handle();
    }
    explicit operator bool() const { return control_ != nullptr; }

    // ---- objects ----

    // A new T(args...), whose constructor does not fail. Context: the lock's; may sleep in
    // the hooks when the cache grows. Errors: no_memory (a hook refused), pool_full (the
    // capacity is reached).
    template <typename... Args>
        requires std::constructible_from<T, Args...>
    [[gnu::always_inline]] Made<Box> make(Args&&... args) {
        return make_in(Context::may_sleep, std::forward<Args>(args)...);
    }
    // The same for a caller that says what the hooks may do.
    template <typename... Args>
        requires std::constructible_from<T, Args...>
    [[gnu::always_inline]] Made<Box> make_in(Context context, Args&&... args) {
        // (What comes from grow, through memory, is a variable of its own: so the pair stays
        // in registers on the way that is taken most.)
        Place place = control_->take();
        if (!place.object) [[unlikely]] {
            const auto grown = control_->grow(context);
            if (!grown) return grown.error();
            place = *grown;
        }
        return Box(new (place.object) T(std::forward<Args>(args)...), place.slab);
    }

    // For a T whose making can fail: Error factory(void* place) constructs a T at `place`
    // and answers none, or leaves nothing there and says why. Runs outside the lock.
    // Errors: those of make and of the factory.
    template <typename Factory>
        requires std::same_as<std::invoke_result_t<Factory, void*>, Error>
    Made<Box> make_with(Factory&& factory, Context context = Context::may_sleep) {
        Place place = control_->take();
        if (!place.object) {
            const auto grown = control_->grow(context);
            if (!grown) return grown.error();
            place = *grown;
        }
        if (const Error e = std::forward<Factory>(factory)(static_cast<void*>(place.object));
            !ok(e)) {
            control_->put(*place.slab, place.object);
            return e;
        }
        return Box(place.object, place.slab);
    }

    // Takes back what a box of this cache gave up by release(). O(log slabs).
    // Errors: invalid_pointer (no object of this cache starts there), already_free,
    // not_owner (a box has it). Nothing has changed then.
    Made<Box> adopt(T* object) {
        const auto slab = control_->adopt(object);
        if (!slab) return slab.error();
        return Box(object, *slab);
    }

    // Gives the empty slab back that is kept, if there is one; answers how many.
    u64 shrink() { return control_->shrink(); }

    // ---- counts, each by itself: others go on. One hold of the lock ----

    // Objects: in boxes, raw, and being made.
    u64 live() const { return control_->counts().live; }
    u64 handles() const { return control_->counts().handles; }
    u64 slabs() const { return control_->counts().slabs; }
    // Most objects that may live; kUnbounded when there is no bound.
    u64 capacity() const { return control_->counts().capacity; }
    // Drops of what was free already, since the cache was made.
    u64 strays() const { return control_->counts().strays; }
    // Bytes of slabs, and of descriptors and control block.
    u64 slab_bytes() const { return slabs() * SlabBytes; }
    u64 meta_bytes() const { return sizeof(Control) + slabs() * sizeof(Slab); }

    // Everything that can be known without the objects; under the lock, O(slots).
    void verify(Audit& audit) const { control_->verify(audit); }

private:
    explicit ObjectCache(Control* control) : control_(control) {}

    Control* control_ = nullptr;
};

}  // namespace quarry
