// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Box<T, Lock, SlabBytes>: owns one object of an object cache, as std::unique_ptr does, in
// two words: the object and the descriptor of its slab. It needs no handle of the cache to
// go home: it may be dropped after all of them, on any thread (with NoLock: on the
// cache's), from inside ~T of another.
//
// Dropping runs ~T outside the lock, then gives the slot back: one hold of the lock, O(1),
// O(log slabs) when a slab goes with it. Context: the lock's; that of the hooks too, for a
// drop may give a slab back.
//
// A copy of a box's two words that is dropped as well, while the cache lives, is counted
// as a stray and changes nothing.
#pragma once

#include "object_control.hpp"

namespace quarry {

// A page, or what holds 8 objects.
template <typename T>
inline constexpr std::size_t default_slab_bytes =
    sizeof(T) <= 512 ? 4096 : std::size_t{8} << ceil_log2(sizeof(T));

template <typename T, typename Lock = SpinLock, std::size_t SlabBytes = default_slab_bytes<T>>
class [[nodiscard]] Box {
    using Slab = ObjectSlab<T, Lock, SlabBytes>;

public:
    constexpr Box() = default;
    Box(Box&& other) noexcept : object_(other.object_), home_(other.home_) {
        other.object_ = nullptr;
    }
    Box& operator=(Box&& other) noexcept {
        Box old(std::move(*this));
        object_ = std::exchange(other.object_, nullptr);
        home_ = other.home_;
        return *this;
    }
    Box(const Box&) = delete;
    Box& operator=(const Box&) = delete;
    [[gnu::always_inline]] ~Box() { reset(); }

    T* get() const { return object_; }
    T& operator*() const { return *object_; }
    T* operator->() const { return object_; }
    explicit operator bool() const { return object_ != nullptr; }

    // Destroys the object, if there is one.
    [[gnu::always_inline]] void reset() {
        if (T* object = std::exchange(object_, nullptr)) go_home(object, *home_);
    }

    // Gives the object up: it lives on, and counts, until a handle adopts it.
    // Null when the box is empty.
    [[nodiscard]] T* release() {
        T* object = std::exchange(object_, nullptr);
        if (object) home_->control().give_up(*home_, object);
        return object;
    }

private:
    template <typename, typename, std::size_t>
    friend class ObjectCache;

    // By value: a box that is made and dropped in one function stays in registers. (Written
    // as two words and read as one wide one, it would wait for its own stores.)
    static void go_home(T* object, Slab& home) {
        // The bit of an object in a box stays as it is: it may be asked without the lock.
        if constexpr (!std::is_trivially_destructible_v<T>)
            if (home.in_use(home.slot_of(object))) [[likely]]
                object->~T();
        home.control().put(home, object);
    }

    Box(T* object, Slab* home) : object_(object), home_(home) {}

    T* object_ = nullptr;
    Slab* home_ = nullptr;
};

}  // namespace quarry
