// SPDX-License-Identifier: MIT
//
// libquarry for C++20: owners and handles over <quarry/quarry.h>, header only.
//
//     auto pool = quarry::pool::create({.bytes = 1 << 20});
//     if (!pool) return fail(pool.error());            // a quarry::error: code, call, message()
//     auto point = pool->make<Point>(1, 2);            // quarry::result<quarry::unique_object<Point>>
//
// Guarantees: no exceptions and no RTTI are needed (with -fno-exceptions too); what a handle owns
// goes back when the handle ends; a moved-from handle is empty. A handle refers to its pool, which
// must not move or end before it. Thread, signal and fork safety are those of the C functions; a
// unique_object inherited by a forked child belongs to the parent: the child release()s it.
// Costs what the C calls cost. Containers: <quarry/memory.hpp>.
#pragma once

#include <quarry/quarry.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace quarry {

// What failed, and in which call.
struct error {
    int code = 0;
    quarry_call call = QUARRY_CALL_COUNT;

    // A sentence with what to do next; see quarry_strerror().
    const char* message() const { return quarry_strerror(code, call); }
    std::error_code to_error_code() const { return {code, std::generic_category()}; }

    static error last(quarry_call call) { return {errno, call}; }
    friend bool operator==(const error&, const error&) = default;
};

// A T, or the error that stands in its place. Looking at the wrong one ends the program.
template <typename T>
class [[nodiscard]] result {
public:
    result(T value) : value_(std::move(value)) {}
    result(quarry::error failure) : error_(failure) {}

    explicit operator bool() const { return value_.has_value(); }
    bool has_value() const { return value_.has_value(); }

    T& value() & { return checked(); }
    T&& value() && { return std::move(checked()); }
    const T& value() const& { return const_cast<result*>(this)->checked(); }
    T& operator*() & { return checked(); }
    T&& operator*() && { return std::move(checked()); }
    T* operator->() { return &checked(); }
    const T* operator->() const { return &value(); }

    const quarry::error& error() const {
        if (value_) std::abort();
        return error_;
    }

private:
    T& checked() {
        if (!value_) std::abort();
        return *value_;
    }

    std::optional<T> value_;
    quarry::error error_;
};

template <>
class [[nodiscard]] result<void> {
public:
    result() = default;
    result(quarry::error failure) : error_(failure), failed_(true) {}

    explicit operator bool() const { return !failed_; }
    bool has_value() const { return !failed_; }

    const quarry::error& error() const {
        if (!failed_) std::abort();
        return error_;
    }

private:
    quarry::error error_;
    bool failed_ = false;
};

// 0 or -1 of a C call as a result.
inline result<void> checked(int outcome, quarry_call call) {
    if (outcome < 0) return error::last(call);
    return {};
}

// struct quarry_options with defaults, so that `{.bytes = 1 << 20}` says it all.
struct options {
    std::uint64_t bytes = 0;
    std::uint64_t max_bytes = 0;
    std::uint32_t kind = QUARRY_KIND_HEAP;
    std::uint32_t flags = 0;
    std::uint32_t zone = QUARRY_ZONE_NORMAL;
    std::int32_t node = -1;  // NUMA node to prefer; -1: any
    std::uint64_t object_size = 0;
    std::uint64_t object_count = 0;
    std::uint64_t client_limit = 0;
    const char* name = nullptr;
    std::uint64_t granule = 0;  // range pools
    std::uint64_t max_ranges = 0;
    std::array<std::uint64_t, 3> aligns{};

    quarry_options to_c() const {
        quarry_options c = {};
        c.kind = kind;
        c.flags = flags;
        c.zone = zone;
        c.on_node = node != -1;
        c.node = node;
        c.bytes = bytes;
        c.max_bytes = max_bytes;
        c.object_size = object_size;
        c.object_count = object_count;
        c.client_limit = client_limit;
        c.name = name;
        c.granule = granule;
        c.max_ranges = max_ranges;
        std::copy(aligns.begin(), aligns.end(), c.aligns);
        return c;
    }
};

// An open device: only for those who make many pools, or ask for its limits.
class device {
public:
    static result<device> open(const char* path = nullptr) {
        if (auto* raw = quarry_open(path)) return device(raw);
        return error::last(QUARRY_CALL_OPEN);
    }

    result<struct quarry_info> info() const {
        struct quarry_info info;
        if (quarry_info(raw_.get(), &info) < 0) return error::last(QUARRY_CALL_INFO);
        return info;
    }

    quarry_device* get() const { return raw_.get(); }

private:
    struct closer {
        void operator()(quarry_device* raw) const { quarry_close(raw); }
    };

    explicit device(quarry_device* raw) : raw_(raw) {}

    std::unique_ptr<quarry_device, closer> raw_;
};

class pool;

// Bytes in a pool that one client owns; gives them back when it ends.
class object {
public:
    object() = default;
    object(object&& other) noexcept { swap(other); }
    object& operator=(object&& other) noexcept {
        object(std::move(other)).swap(*this);
        return *this;
    }
    ~object() { (void)reset(); }

    // Takes over an object of this process's client of `pool`.
    static object adopt(quarry_pool* pool, std::uint64_t offset, std::size_t bytes) {
        return object(pool, offset, bytes);
    }

    explicit operator bool() const { return pool_ != nullptr; }
    void* data() const { return pool_ ? quarry_address(pool_, offset_) : nullptr; }
    std::size_t size() const { return bytes_; }
    std::uint64_t offset() const { return offset_; }
    std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data()), bytes_}; }

    // Frees it now, and says how that went; the handle is empty afterwards either way.
    result<void> reset() {
        if (!pool_) return {};
        return checked(quarry_free_offset(std::exchange(pool_, nullptr), offset_),
                       QUARRY_CALL_FREE);
    }

    // Ends the handle and not the object; returns its offset.
    std::uint64_t release() {
        pool_ = nullptr;
        return offset_;
    }

    // Makes it the property of client `to`, of the same pool. The handle keeps it when that fails.
    result<void> transfer(std::uint64_t to) {
        if (!pool_) return error{EINVAL, QUARRY_CALL_TRANSFER};
        if (quarry_transfer(pool_, to, &offset_, 1) != 1) return error::last(QUARRY_CALL_TRANSFER);
        pool_ = nullptr;
        return {};
    }

    // Makes client `to`, of the same pool, a holder beside this one: the object lasts until each has
    // given back its own. See quarry_share_objects().
    result<void> share(std::uint64_t to) const {
        if (!pool_) return error{EINVAL, QUARRY_CALL_SHARE_OBJECTS};
        if (quarry_share_objects(pool_, to, &offset_, 1) != 1)
            return error::last(QUARRY_CALL_SHARE_OBJECTS);
        return {};
    }

    void swap(object& other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(offset_, other.offset_);
        std::swap(bytes_, other.bytes_);
    }

private:
    object(quarry_pool* pool, std::uint64_t offset, std::size_t bytes)
        : pool_(pool), offset_(offset), bytes_(bytes) {}

    quarry_pool* pool_ = nullptr;
    std::uint64_t offset_ = QUARRY_NO_OFFSET;
    std::size_t bytes_ = 0;
};

// A T in a pool: destroyed and given back when the handle ends. T must not hold pointers that other
// processes follow; offsets are what they share.
template <typename T>
class unique_object {
    static_assert(!std::is_array_v<T> && std::is_object_v<T>);

public:
    unique_object() = default;
    unique_object(unique_object&&) noexcept = default;
    unique_object& operator=(unique_object&& other) noexcept {
        if (this != &other) {
            reset();
            memory_ = std::move(other.memory_);
        }
        return *this;
    }
    ~unique_object() { reset(); }

    // `memory` holds a living T.
    explicit unique_object(object memory) : memory_(std::move(memory)) {}

    explicit operator bool() const { return static_cast<bool>(memory_); }
    T* get() const { return static_cast<T*>(memory_.data()); }
    T& operator*() const { return *get(); }
    T* operator->() const { return get(); }
    std::uint64_t offset() const { return memory_.offset(); }

    void reset() {
        if (!memory_) return;
        std::destroy_at(get());
        (void)memory_.reset();
    }

    // Ends the handle and neither destroys nor frees the T; returns its offset.
    std::uint64_t release() { return memory_.release(); }
    // Hands the living T to another client of the pool.
    result<void> transfer(std::uint64_t to) { return memory_.transfer(to); }

private:
    template <typename U>
    friend class shared_object;

    object memory_;
};

// A T that several clients hold, each by a handle of its own; the last one's end, or death, is the
// object's. No holder knows that it is the last, so no destructor runs: T must not need one. Whoever
// writes to it while others hold it must agree with them how.
//
//     quarry::shared_object<Frame> frame(std::move(*pool->make<Frame>()));
//     frame.share(reader);                                        // and tell it frame.offset()
//     auto seen = quarry::shared_object<Frame>::adopt(pool->get(), offset);       // the reader's
template <typename T>
class shared_object {
    static_assert(!std::is_array_v<T> && std::is_trivially_destructible_v<T>);

public:
    shared_object() = default;
    // From its only owner; nobody else holds it yet.
    explicit shared_object(unique_object<T>&& sole) : memory_(std::move(sole.memory_)) {}

    // Takes over the share that another holder has given this process's client of `pool`.
    static shared_object adopt(quarry_pool* pool, std::uint64_t offset) {
        shared_object taken;
        taken.memory_ = object::adopt(pool, offset, sizeof(T));
        return taken;
    }

    explicit operator bool() const { return static_cast<bool>(memory_); }
    T* get() const { return static_cast<T*>(memory_.data()); }
    T& operator*() const { return *get(); }
    T* operator->() const { return get(); }
    std::uint64_t offset() const { return memory_.offset(); }

    // Gives this client's share back now, and says how that went; the handle is empty afterwards.
    result<void> reset() { return memory_.reset(); }
    // Ends the handle and not the share; returns the offset.
    std::uint64_t release() { return memory_.release(); }
    // Makes client `to` a holder too; EEXIST: it is one already.
    result<void> share(std::uint64_t to) const { return memory_.share(to); }
    // Hands this share on; EEXIST: `to` is a holder already. The handle keeps it when that fails.
    result<void> transfer(std::uint64_t to) { return memory_.transfer(to); }

private:
    object memory_;
};

// Most quarry::pool objects of one process that allocator<T> (<quarry/memory.hpp>) finds.
inline constexpr std::size_t most_pools = 64;

namespace detail {

// This process's handles, by their pools' ids. A slot: nullptr -> handle when a pool object is made,
// back before its handle ends; each by one atomic store, so that a look needs no lock.
class registry {
public:
    static void add(quarry_pool* handle) {
        for (auto& slot : slots_) {
            quarry_pool* none = nullptr;
            if (slot.compare_exchange_strong(none, handle, std::memory_order_release)) return;
        }
    }
    static void remove(quarry_pool* handle) {
        for (auto& slot : slots_) {
            quarry_pool* mine = handle;
            if (slot.compare_exchange_strong(mine, nullptr, std::memory_order_release)) return;
        }
    }
    // A handle of the pool of this id; nullptr: this process has none.
    static quarry_pool* find(std::uint64_t id) {
        for (auto& slot : slots_) {
            quarry_pool* handle = slot.load(std::memory_order_acquire);
            if (handle && quarry_pool_id(handle) == id) return handle;
        }
        return nullptr;
    }

private:
    static inline std::array<std::atomic<quarry_pool*>, most_pools> slots_{};
};

}  // namespace detail

// This process as a client of one pool; leaves it when it ends.
class pool {
public:
    static result<pool> create(const options& wanted, const device* on = nullptr) {
        const quarry_options c = wanted.to_c();
        return made(quarry_create(on ? on->get() : nullptr, &c), QUARRY_CALL_CREATE);
    }
    // `fd` stays the caller's.
    static result<pool> join(int fd) { return made(quarry_join(fd), QUARRY_CALL_JOIN); }
    // Closes `fd` when it succeeds.
    static result<pool> adopt(int fd) { return made(quarry_adopt(fd), QUARRY_CALL_JOIN); }
    static result<pool> from_environment() { return made(quarry_open_env(), QUARRY_CALL_ENV); }
    static result<pool> receive(int socket, std::uint64_t* sender = nullptr) {
        return made(quarry_receive_pool(socket, sender), QUARRY_CALL_RECEIVE);
    }

    result<void> send(int socket) {
        return checked(quarry_send_pool(get(), socket), QUARRY_CALL_SEND);
    }

    result<object> alloc(std::size_t bytes, std::size_t align = 0) {
        const auto offset = quarry_alloc_offset(get(), bytes, align);
        if (offset == QUARRY_NO_OFFSET) return error::last(QUARRY_CALL_ALLOC);
        return object::adopt(get(), offset, bytes);
    }

    // All of offsets, or none of them and an error.
    result<void> alloc_all(std::size_t bytes, std::span<std::uint64_t> offsets,
                           std::size_t align = 0) {
        return checked(quarry_alloc_all(get(), bytes, align, offsets.data(), offsets.size()),
                       QUARRY_CALL_ALLOC);
    }

    // So many allocations of this size cannot fail from then on; answers how many are set aside.
    result<std::size_t> reserve(std::size_t bytes, std::size_t count, std::size_t align = 0) {
        std::size_t left = 0;
        if (quarry_reserve(get(), bytes, align, count, &left) == 0) return left;
        return error::last(QUARRY_CALL_RESERVE);
    }

    // How many were freed: all, unless one was refused.
    result<void> free_all(std::span<const std::uint64_t> offsets) {
        if (quarry_free_batch(get(), offsets.data(), offsets.size()) < offsets.size())
            return error::last(QUARRY_CALL_FREE);
        return {};
    }

    // The range's bytes from then on, in its place.
    result<std::uint64_t> resize(std::uint64_t offset, std::uint64_t bytes) {
        if (const auto now = quarry_resize(get(), offset, bytes)) return now;
        return error::last(QUARRY_CALL_RESIZE);
    }

    // A T constructed in the pool, aligned as T asks (up to a page).
    template <typename T, typename... Args>
    result<unique_object<T>> make(Args&&... args) {
        auto memory = alloc(sizeof(T), alignof(T) > QUARRY_GRAIN ? alignof(T) : 0);
        if (!memory) return memory.error();
        ::new (memory->data()) T(std::forward<Args>(args)...);
        return unique_object<T>(std::move(*memory));
    }

    result<void> free(void* address) {
        return checked(quarry_free(get(), address), QUARRY_CALL_FREE);
    }

    std::uint64_t offset(const void* address) const { return quarry_offset(get(), address); }
    void* address(std::uint64_t offset) const { return quarry_address(get(), offset); }
    void* span(std::uint64_t offset, std::size_t bytes) const {
        return quarry_span(get(), offset, bytes);
    }

    result<struct quarry_stat> stat() const {
        struct quarry_stat stat;
        if (quarry_stat(get(), &stat) < 0) return error::last(QUARRY_CALL_STAT);
        return stat;
    }
    result<std::vector<quarry_class_stat>> classes() const {
        std::vector<quarry_class_stat> classes(QUARRY_MAX_CLASSES);
        const int count = quarry_classes(get(), classes.data(), classes.size());
        if (count < 0) return error::last(QUARRY_CALL_STAT);
        classes.resize(static_cast<std::size_t>(count));
        return classes;
    }
    result<struct quarry_verify> verify() const {
        struct quarry_verify verify;
        if (quarry_verify(get(), &verify) < 0) return error::last(QUARRY_CALL_VERIFY);
        return verify;
    }

    std::uint64_t id() const { return quarry_pool_id(get()); }
    std::uint64_t client_id() const { return quarry_client_id(get()); }
    std::uint64_t max_bytes() const { return quarry_max_bytes(get()); }
    int fd() const { return quarry_fd(get()); }
    // The C handle, for the calls that have no method here; it stays this object's.
    quarry_pool* get() const { return raw_.get(); }

private:
    struct leaver {
        void operator()(quarry_pool* raw) const {
            detail::registry::remove(raw);
            quarry_leave(raw);
        }
    };

    explicit pool(quarry_pool* raw) : raw_(raw) { detail::registry::add(raw); }

    static result<pool> made(quarry_pool* raw, quarry_call call) {
        if (!raw) return error::last(call);
        return pool(raw);
    }

    std::unique_ptr<quarry_pool, leaver> raw_;
};

}  // namespace quarry
