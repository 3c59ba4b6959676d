// SPDX-License-Identifier: MIT
//
// A word by which two threads of a test meet, as close together as two CPUs can when both are
// free, and without wasting a busy one: who waits spins for a moment, then sleeps.
#pragma once

#include <atomic>

namespace quarry {

template <typename T>
void tell(std::atomic<T>& word, T value) {
    word.store(value);
    word.notify_all();
}

// Waits until `until(word)`; answers the word.
template <typename T, typename Until>
T await(const std::atomic<T>& word, Until until) {
    for (int spins = 0;;) {
        const T now = word.load();
        if (until(now)) return now;
        if (++spins > 1000) word.wait(now);
    }
}

}  // namespace quarry
