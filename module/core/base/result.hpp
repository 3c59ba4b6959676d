// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Errors are values: one enum for the whole core, and Result<T>, which is a T or
// an error and must be looked at. The names stand in the seam header, because the
// shim maps them to errno; nothing here knows an errno.
#pragma once

#include <type_traits>
#include <utility>

#include "../../include/quarry_seam.h"

namespace quarry {

enum class [[nodiscard]] Error : unsigned char {
    none = QUARRY_OK,
    no_memory = QUARRY_E_NO_MEMORY,
    pool_full = QUARRY_E_POOL_FULL,
    invalid = QUARRY_E_INVALID,
    misaligned = QUARRY_E_MISALIGNED,
    out_of_range = QUARRY_E_OUT_OF_RANGE,
    no_region = QUARRY_E_NO_REGION,
    not_object = QUARRY_E_NOT_OBJECT,
    invalid_pointer = not_object,  // the same, where objects are named by pointers
    already_free = QUARRY_E_ALREADY_FREE,
    not_owner = QUARRY_E_NOT_OWNER,
    wrong_size = QUARRY_E_WRONG_SIZE,
    quota = QUARRY_E_QUOTA,
    too_large = QUARRY_E_TOO_LARGE,
    overflow = QUARRY_E_OVERFLOW,
    busy = QUARRY_E_BUSY,
    overlap = QUARRY_E_OVERLAP,
    not_found = QUARRY_E_NOT_FOUND,
    initialised = QUARRY_E_INITIALISED,
    uninitialised = QUARRY_E_UNINITIALISED,
    too_many = QUARRY_E_TOO_MANY,
    owners_full = QUARRY_E_OWNERS_FULL,
    corrupt = QUARRY_E_CORRUPT,
    shutdown = QUARRY_E_SHUTDOWN,
    not_supported = QUARRY_E_NOT_SUPPORTED,
    held = QUARRY_E_HELD,
    needs_pages = QUARRY_E_NEEDS_PAGES,
    cannot_grow = QUARRY_E_CANNOT_GROW,
    out_of_nodes = QUARRY_E_OUT_OF_NODES,
    reserves_full = QUARRY_E_RESERVES_FULL,
};

constexpr bool ok(Error e) { return e == Error::none; }
constexpr int to_seam(Error e) { return static_cast<int>(e); }

// A trivially copyable T, or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    constexpr Result(T value) : value_(value) {}
    constexpr Result(Error error) : error_(error) {}

    constexpr explicit operator bool() const { return error_ == Error::none; }
    constexpr Error error() const { return error_; }
    // Only after the test: without a value this is a value-initialised T.
    constexpr const T& operator*() const { return value_; }
    constexpr const T* operator->() const { return &value_; }

private:
    T value_{};
    Error error_ = Error::none;
};

}  // namespace quarry
