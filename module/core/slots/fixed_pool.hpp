// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// FixedPool<BlockSize, Count, Align>: SlotPool with its size, count and alignment in the type,
// and its blocks inside. For one caller at a time. It is built where it shall stand and never
// moves: constinit static (a pool of zeros, so it takes no room in the image), on the stack,
// in memory of the caller's, on the heap. The constructor writes the bitmap's words, never the
// blocks: 16 MiB need no 16 MiB of stack, and no page before its first use.
//
//     constinit static quarry::FixedPool<64, 1000> pool;
//     const auto message = pool.alloc<Message>(7);      // Result<Message*>: a Message(7)
//     if (message) (void)pool.free(*message);           // destroys it and gives the block back
//     const auto raw = pool.alloc_untyped();            // Result<void*>: 64 bytes, aligned to Align
//     if (raw) (void)pool.free_untyped(*raw);
//
// A type that does not fit into a block, by size or alignment, does not compile.
//
// Errors of a free: invalid (null), out_of_range (no block of this pool), misaligned (inside a
// block), already_free. Nothing has changed then.
//
// With Zeroing::yes every block handed out untyped is zeroed first.
//
// Context: any, under the caller's lock. Costs: O(1), a pair without any loop; one bit a block
// and 16 bytes.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include "block_numbers.hpp"

namespace quarry {

enum class Zeroing : bool { no, yes };

template <u64 BlockSize, u64 Count, u64 Align = (BlockSize & -BlockSize) < 64 ? (BlockSize & -BlockSize) : 64>
class FixedPool {
    static_assert(BlockSize >= 1 && BlockSize <= u64{4} << 20, "a block has 1 byte to 4 MiB");
    static_assert(Count >= 1 && Count <= BitLevels::kMostSlots, "a pool has 1 to 2^30 blocks");
    static_assert(is_power_of_two(Align) && BlockSize % Align == 0,
                  "blocks follow each other: the size must be a multiple of the alignment");

public:
    static constexpr u64 kBlockSize = BlockSize;
    static constexpr u64 kAlign = Align;

    // May an object of T stand in a block?
    template <typename T>
    static constexpr bool fits = sizeof(T) <= BlockSize && alignof(T) <= Align;

    constexpr explicit FixedPool(Zeroing zeroing = Zeroing::no) : zeroing_(zeroing) {}
    // No object is destroyed: who has one has it to free.
    FixedPool(const FixedPool&) = delete;
    FixedPool& operator=(const FixedPool&) = delete;

    // A T made of `args` in a free block. Errors: pool_full; the arguments were not touched.
    template <typename T, typename... Args>
        requires fits<T>
    Result<T*> alloc(Args&&... args) {
        const u32 number = numbers_.take(words_, kLevels, Count);
        if (number == BlockNumbers::kNone) [[unlikely]]
            return Error::pool_full;
        return new (at(number)) T(std::forward<Args>(args)...);
    }
    // Destroys the object and gives its block back.
    template <typename T>
        requires fits<T>
    Error free(T* object) {
        u32 number;
        if (const Error e = number_of(object, number); !ok(e)) return e;
        if constexpr (!std::is_trivially_destructible_v<T>) {
            if (!live(number)) return Error::already_free;
            object->~T();
        }
        return numbers_.give(words_, kLevels, number);
    }

    // Errors: pool_full.
    Result<void*> alloc_untyped() {
        const u32 number = numbers_.take(words_, kLevels, Count);
        if (number == BlockNumbers::kNone) [[unlikely]]
            return Error::pool_full;
        void* block = at(number);
        if (zeroing_ == Zeroing::yes) __builtin_memset(block, 0, BlockSize);
        return block;
    }
    Error free_untyped(void* block) {
        u32 number;
        if (const Error e = number_of(block, number); !ok(e)) return e;
        return numbers_.give(words_, kLevels, number);
    }
    // Every block is free; objects in them are not destroyed. O(Count / 64).
    void free_all() { numbers_.reset(words_, kLevels); }

    static constexpr u32 total() { return Count; }
    u32 allocated() const { return numbers_.allocated(); }
    u32 free_blocks() const { return total() - allocated(); }

    // The number of a block, 0..Count - 1, and back. Errors: invalid, out_of_range, misaligned.
    Error number_of(const void* block, u32& number) const {
        if (!block) return Error::invalid;
        const u64 offset = reinterpret_cast<u64>(block) - reinterpret_cast<u64>(blocks_.bytes);
        if (offset >= BlockSize * Count) return Error::out_of_range;
        number = static_cast<u32>(offset / BlockSize);
        return offset % BlockSize ? Error::misaligned : Error::none;
    }
    void* at(u32 number) { return blocks_.bytes + number * BlockSize; }
    // `number` < Count.
    bool live(u32 number) const { return numbers_.live(words_, number); }

    // f(block) for each live block, ascending; f may free it. O(Count).
    template <typename F>
    void for_each(F&& f) {
        numbers_.for_each(words_, [&](u32 number) { f(at(number)); });
    }

    // Every count and summary is right. O(Count / 64).
    void verify(Audit& audit) const { numbers_.verify(words_, kLevels, Count, audit); }

private:
    static constexpr BitLevels kLevels{Count};

    // Bytes that no constructor writes.
    union Blocks {
        constexpr Blocks() : nothing(0) {}
        unsigned char nothing;
        alignas(Align) unsigned char bytes[BlockSize * Count];
    };

    BlockNumbers numbers_;
    Zeroing zeroing_;
    u64 words_[kLevels.words()] = {};
    Blocks blocks_;
};

}  // namespace quarry
