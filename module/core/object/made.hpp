// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Made<X>: an X that owns something, or the reason why there is none. What Result is for
// values that are copied, this is for those that are moved. X has an empty state.
#pragma once

#include "../base/result.hpp"

namespace quarry {

template <typename X>
class [[nodiscard]] Made {
public:
    [[gnu::always_inline]] Made(X&& made) : made_(std::move(made)) {}
    Made(Error error) : error_(error) {}

    explicit operator bool() const { return error_ == Error::none; }
    Error error() const { return error_; }
    // Only after the test: without a value this is an empty X.
    X& operator*() & { return made_; }
    X&& operator*() && { return std::move(made_); }
    X* operator->() { return &made_; }

private:
    X made_;
    Error error_ = Error::none;
};

}  // namespace quarry
