// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// SlotPool: equal blocks, size and count at run time, for one caller at a time (one thread,
// or under the caller's lock). One bit a block, with summaries, in words that the caller
// brings; the blocks themselves are never touched, so they may be memory that nobody maps.
// (FixedPool is the same with size and count in its type.)
//
//     alignas(8) static unsigned char blocks[100 * 24];
//     static uint64_t bits[SlotPool::meta_bytes(100) / 8];
//     quarry::SlotPool pool;
//     if (!ok(pool.init(blocks, sizeof(blocks), 24, 100, bits))) return;
//     const auto block = pool.alloc();                 // Result<void*>
//     if (block) (void)pool.free(*block);
//
// Errors of a free: invalid (null), out_of_range (no block of this pool), misaligned (inside
// a block), already_free. Nothing has changed then.
//
// Block size 1 byte to 4 MiB, count 1 to 2^30. Block i stands at base + i * size: blocks are
// aligned as both are. Context: any. Costs: O(1); a free divides by the block size, which is a shift
// for a power of two. The bitmap takes 8 bytes for 64 blocks, and 1/63 of that more.
#pragma once

#include "block_numbers.hpp"

namespace quarry {

class SlotPool {
public:
    static constexpr u64 kMostBytes = u64{4} << 20;

    // Bytes of words that `count` blocks need.
    static constexpr u64 meta_bytes(u64 count) { return BitLevels::words_for(count) * sizeof(u64); }

    SlotPool() = default;
    SlotPool(const SlotPool&) = delete;
    SlotPool& operator=(const SlotPool&) = delete;

    // `count` blocks of `block_bytes` from `base` on; `bytes` is what there is of them.
    // `words`: meta_bytes(count), whatever they hold; they outlive this. Errors: invalid (null,
    // no size, no count, fewer bytes than that takes), too_large, misaligned (the words),
    // initialised. O(count / 64).
    Error init(void* base, u64 bytes, u64 block_bytes, u64 count, void* words) {
        if (words_) return Error::initialised;
        if (!base || !words || block_bytes == 0 || count == 0) return Error::invalid;
        if (block_bytes > kMostBytes || count > BitLevels::kMostSlots) return Error::too_large;
        if (block_bytes * count > bytes) return Error::invalid;
        if (reinterpret_cast<u64>(words) % alignof(u64)) return Error::misaligned;
        base_ = static_cast<unsigned char*>(base);
        words_ = static_cast<u64*>(words);
        levels_ = BitLevels(count);
        count_ = static_cast<u32>(count);
        block_bytes_ = static_cast<u32>(block_bytes);
        shift_ = is_power_of_two(block_bytes) ? lowest_bit(block_bytes) : kNoShift;
        FreeBits::clear(words_, levels_);
        return Error::none;
    }

    // Errors: pool_full, uninitialised.
    Result<void*> alloc() {
        const u32 number = numbers_.take(words_, levels_, count_);
        if (number == BlockNumbers::kNone) return words_ ? Error::pool_full : Error::uninitialised;
        return static_cast<void*>(at(number));
    }
    // Errors: see the head.
    Error free(void* block) {
        u32 number;
        if (const Error e = number_of(block, number); !ok(e)) return e;
        return numbers_.give(words_, levels_, number);
    }
    // Every block is free. O(count / 64).
    void free_all() {
        if (words_) numbers_.reset(words_, levels_);
    }

    u32 total() const { return count_; }
    u32 allocated() const { return numbers_.allocated(); }
    u32 free_blocks() const { return count_ - allocated(); }
    u32 block_bytes() const { return block_bytes_; }

    // The number of a block, 0..total() - 1, and back. Errors: invalid, out_of_range,
    // misaligned.
    Error number_of(const void* block, u32& number) const {
        if (!block) return Error::invalid;
        const u64 offset = reinterpret_cast<u64>(block) - reinterpret_cast<u64>(base_);
        if (offset >= u64{count_} * block_bytes_) return Error::out_of_range;
        const u64 n = shift_ == kNoShift ? offset / block_bytes_ : offset >> shift_;
        number = static_cast<u32>(n);
        return n * block_bytes_ == offset ? Error::none : Error::misaligned;
    }
    void* at(u32 number) const { return base_ + u64{number} * block_bytes_; }
    // `number` < total().
    bool live(u32 number) const { return numbers_.live(words_, number); }

    // f(block) for each live block, ascending; f may free it. O(total).
    template <typename F>
    void for_each(F&& f) const {
        numbers_.for_each(words_, [&](u32 number) { f(at(number)); });
    }

    // Every count and summary is right. O(total / 64).
    void verify(Audit& audit) const {
        if (words_) numbers_.verify(words_, levels_, count_, audit);
    }

private:
    static constexpr u32 kNoShift = 64;

    BlockNumbers numbers_;
    u32 count_ = 0;
    unsigned char* base_ = nullptr;
    u64* words_ = nullptr;
    u32 block_bytes_ = 0;
    u32 shift_ = 0;
    BitLevels levels_;
};

}  // namespace quarry
