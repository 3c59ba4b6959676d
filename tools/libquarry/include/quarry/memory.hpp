// SPDX-License-Identifier: MIT
//
// Containers in a pool, for C++20, header only.
//
//     quarry::memory_resource resource(pool);              // std::pmr, in one process
//     std::pmr::vector<int> numbers(&resource);
//
//     using Numbers = std::vector<int, quarry::allocator<int>>;
//     auto shared = pool.make<Numbers>(quarry::allocator<int>(pool));   // readable by every client
//
// memory_resource gives ordinary pointers: what it holds is for this process. allocator<T> gives
// offset_ptr<T>, a distance from itself, so that a container that lies in the pool means the same in
// every process, wherever the pool is mapped there. It names its pool by the pool's id, which each
// process looks up among its own quarry::pool objects (at most most_pools of them).
//
// Who changes such a container must own its memory: the client that made it. Others read it, under
// whatever synchronisation the two have agreed on; a free of theirs is refused (EACCES) and changes
// nothing. A container that takes fancy pointers is needed: std::vector does, std::map of libstdc++
// does not, Boost.Container's do.
//
// Costs: those of quarry_alloc() and of the sized quarry_free(); allocator<T> looks its pool up
// first, O(pools of this process). When there is no memory: std::bad_alloc, or the end of the program
// without exceptions.
#pragma once

#include <quarry/quarry.hpp>

#include <compare>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory_resource>

namespace quarry {

namespace detail {

[[noreturn]] inline void out_of_memory() {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    std::abort();
#endif
}

inline void* allocate(quarry_pool* pool, std::size_t bytes, std::size_t align) {
    void* memory = pool ? quarry_alloc_aligned(pool, bytes ? bytes : 1, align) : nullptr;
    if (!memory) out_of_memory();
    return memory;
}

inline void deallocate(quarry_pool* pool, void* memory, std::size_t bytes, std::size_t align) {
    if (pool) (void)quarry_free_sized_aligned(pool, memory, bytes ? bytes : 1, align);
}

}  // namespace detail

// A std::pmr resource over a pool, which must outlive it. Equal to itself alone.
class memory_resource final : public std::pmr::memory_resource {
public:
    explicit memory_resource(pool& from) : pool_(from.get()) {}
    explicit memory_resource(quarry_pool* from) : pool_(from) {}

private:
    void* do_allocate(std::size_t bytes, std::size_t align) override {
        return detail::allocate(pool_, bytes, align);
    }
    void do_deallocate(void* memory, std::size_t bytes, std::size_t align) override {
        detail::deallocate(pool_, memory, bytes, align);
    }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
        return this == &other; // no dynamic_cast: it works without RTTI
    }

    quarry_pool* pool_;
};

// A pointer kept as the distance from itself: both ends lie in one pool. Null is a distance of 1,
// which no pointer to an object of its own size can have.
template <typename T>
class offset_ptr {
public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = offset_ptr;
    using reference = std::add_lvalue_reference_t<T>;
    using iterator_category = std::random_access_iterator_tag;
    template <typename U>
    using rebind = offset_ptr<U>;

    offset_ptr() noexcept = default;
    offset_ptr(T* to) noexcept { set(to); } // also of nullptr, and of 0
    offset_ptr(const offset_ptr& other) noexcept { set(other.get()); }
    template <typename U>
        requires std::convertible_to<U*, T*>
    offset_ptr(const offset_ptr<U>& other) noexcept {
        set(other.get());
    }
    // As static_cast does: from void, or from a base.
    template <typename U>
        requires(!std::convertible_to<U*, T*> && requires(U* p) { static_cast<T*>(p); })
    explicit offset_ptr(const offset_ptr<U>& other) noexcept {
        set(static_cast<T*>(other.get()));
    }
    offset_ptr& operator=(const offset_ptr& other) noexcept {
        set(other.get());
        return *this;
    }

    template <typename U = T>
        requires(!std::is_void_v<U>)
    static offset_ptr pointer_to(U& object) noexcept {
        return offset_ptr(std::addressof(object));
    }

    T* get() const noexcept {
        if (distance_ == null) return nullptr;
        return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(this) + distance_);
    }
    explicit operator bool() const noexcept { return distance_ != null; }
    reference operator*() const noexcept { return *get(); }
    T* operator->() const noexcept { return get(); }
    reference operator[](difference_type n) const noexcept { return get()[n]; }

    offset_ptr& operator+=(difference_type n) noexcept {
        set(get() + n);
        return *this;
    }
    offset_ptr& operator-=(difference_type n) noexcept { return *this += -n; }
    offset_ptr& operator++() noexcept { return *this += 1; }
    offset_ptr& operator--() noexcept { return *this -= 1; }
    offset_ptr operator++(int) noexcept {
        offset_ptr before(*this);
        ++*this;
        return before;
    }
    offset_ptr operator--(int) noexcept {
        offset_ptr before(*this);
        --*this;
        return before;
    }
    friend offset_ptr operator+(const offset_ptr& p, difference_type n) noexcept { return p.get() + n; }
    friend offset_ptr operator+(difference_type n, const offset_ptr& p) noexcept { return p.get() + n; }
    friend offset_ptr operator-(const offset_ptr& p, difference_type n) noexcept { return p.get() - n; }
    friend difference_type operator-(const offset_ptr& a, const offset_ptr& b) noexcept {
        return a.get() - b.get();
    }
    friend bool operator==(const offset_ptr& a, const offset_ptr& b) noexcept { return a.get() == b.get(); }
    friend bool operator==(const offset_ptr& a, std::nullptr_t) noexcept { return !a; }
    friend auto operator<=>(const offset_ptr& a, const offset_ptr& b) noexcept {
        return std::compare_three_way()(a.get(), b.get());
    }

private:
    static constexpr std::uintptr_t null = 1;

    void set(T* to) noexcept {
        distance_ = to ? reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(this) : null;
    }

    std::uintptr_t distance_ = null;
};

// An allocator over a pool for containers that lie in the pool.
template <typename T>
class allocator {
public:
    using value_type = T;
    using pointer = offset_ptr<T>;
    using const_pointer = offset_ptr<const T>;
    using void_pointer = offset_ptr<void>;
    using const_void_pointer = offset_ptr<const void>;
    using size_type = std::size_t;
    using difference_type = std::ptrdiff_t;
    using propagate_on_container_copy_assignment = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    explicit allocator(const pool& from) noexcept : pool_id_(from.id()) {}
    template <typename U>
    allocator(const allocator<U>& other) noexcept : pool_id_(other.pool_id()) {}

    pointer allocate(std::size_t n) {
        if (n > static_cast<std::size_t>(-1) / 2 / sizeof(T)) detail::out_of_memory();
        return pointer(static_cast<T*>(
            detail::allocate(detail::registry::find(pool_id_), n * sizeof(T), alignof(T))));
    }
    void deallocate(const pointer& memory, std::size_t n) noexcept {
        detail::deallocate(detail::registry::find(pool_id_), const_cast<std::remove_cv_t<T>*>(memory.get()),
                           n * sizeof(T), alignof(T));
    }

    std::uint64_t pool_id() const noexcept { return pool_id_; }
    template <typename U>
    friend bool operator==(const allocator& a, const allocator<U>& b) noexcept {
        return a.pool_id() == b.pool_id();
    }

private:
    std::uint64_t pool_id_;
};

}  // namespace quarry
