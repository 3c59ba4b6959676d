// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// BitLevels: where the words of a bitmap with summary levels stand. Level 0 has one bit a
// slot; a bit of each further level tells of one word of the level below; the last level is
// one word. So whatever is sought is found by one word a level: 1 up to 64 slots, 2 up to
// 4096, 3 up to 262,144, 4 up to 2^24, 5 up to 2^30.
//
// All words follow each other, level 0 first: 8 bytes for 64 slots, and 1/63 of that more.
#pragma once

#include "../base/types.hpp"

namespace quarry {

class BitLevels {
public:
    static constexpr u32 kMax = 5;
    static constexpr u64 kMostSlots = u64{1} << 30;

    constexpr BitLevels() = default;
    // `slots`: 1..kMostSlots.
    constexpr explicit BitLevels(u64 slots) {
        u64 below = slots;
        do {
            below = (below + 63) / 64;
            start_[levels_ + 1] = start_[levels_] + static_cast<u32>(below);
            ++levels_;
        } while (below > 1);
    }

    constexpr u32 levels() const { return levels_; }
    constexpr u32 top() const { return levels_ - 1; }
    // The words of one level are start(level) .. start(level + 1) - 1.
    constexpr u32 start(u32 level) const { return start_[level]; }
    constexpr u32 words() const { return start_[levels_]; }
    constexpr u32 words(u32 level) const { return start_[level + 1] - start_[level]; }

    // Words that `slots` need in all; 0 for none.
    static constexpr u64 words_for(u64 slots) {
        u64 all = 0;
        for (u64 below = slots; below;) {
            below = (below + 63) / 64;
            all += below;
            if (below == 1) break;
        }
        return all;
    }

private:
    u32 levels_ = 0;
    u32 start_[kMax + 1] = {};
};

static_assert(BitLevels(64).levels() == 1 && BitLevels(65).levels() == 2);
static_assert(BitLevels(1'000'000).levels() == 4 && BitLevels(BitLevels::kMostSlots).levels() == 5);
static_assert(BitLevels(4097).words() == BitLevels::words_for(4097));

}  // namespace quarry
