// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The descriptor of one slab of an object cache. The slab itself holds objects from its
// first byte on and nothing else; what is known of them stands here, in a block of its own:
// no write past an object reaches it.
//
//   slot      open   raw    what it is
//             1      0      free
//             0      0      an object in a box, or one being made
//             0      1      an object whose box gave it up (release)
//
// All under the cache's lock but two: base() never changes, and in_use() may be asked by
// whoever owns the slot.
#pragma once

#include "../base/list.hpp"
#include "open_slots.hpp"
#include "slab_tree.hpp"

namespace quarry {

template <typename T, typename Lock, std::size_t SlabBytes>
class ObjectControl;

template <typename T, typename Lock, std::size_t SlabBytes>
class alignas(64) ObjectSlab {
public:
    using Control = ObjectControl<T, Lock, SlabBytes>;
    static constexpr u64 kSlabBytes = SlabBytes;
    static constexpr std::size_t kAlign = alignof(T) > 4096 ? alignof(T) : 4096;
    static constexpr u32 kSlots = static_cast<u32>(SlabBytes / sizeof(T));

    // All slots open. `memory` is kSlabBytes from the hook.
    explicit ObjectSlab(void* memory) : base_(static_cast<T*>(memory)) { open_.open_all(); }

    Control& control() const { return *control_; }
    void set_control(Control& control) { control_ = &control; }
    T* base() const { return base_; }
    T* at(u32 slot) const { return base_ + slot; }
    u32 slot_of(const T* object) const { return static_cast<u32>(object - base_); }

    bool in_use(u32 slot) const { return !open_.test(slot); }
    u32 live() const { return live_; }
    bool full() const { return live_ == kSlots; }

    // Not full.
    u32 take() {
        ++live_;
        return open_.take();
    }
    // False: the slot is free already, or raw; then nothing has changed.
    bool put(u32 slot) {
        if (raws_ && raw(slot)) [[unlikely]]
            return false;
        if (!open_.open(slot)) [[unlikely]]
            return false;
        --live_;
        return true;
    }

    bool raw(u32 slot) const { return raw_[slot / 64] >> slot % 64 & 1; }
    // It was not so before.
    void set_raw(u32 slot, bool raw) {
        const u64 bit = u64{1} << slot % 64;
        raw_[slot / 64] ^= bit;
        raws_ += raw ? 1 : -1;
    }

    // The bits agree with the count and with each other. O(slots / 64).
    bool sound() const {
        u32 raws = 0;
        for (u32 slot = 0; slot < kSlots; ++slot) {
            if (!raw(slot)) continue;
            if (open_.test(slot)) return false;
            ++raws;
        }
        return raws == raws_ && open_.count() == kSlots - live_;
    }

    ListNode list;  // of the partial slabs, or of the full ones
    SlabTreeNode<ObjectSlab> tree;

private:
    Control* control_ = nullptr;
    T* base_;
    u32 live_ = 0;
    u32 raws_ = 0;
    OpenSlots<kSlots> open_;
    u64 raw_[(kSlots + 63) / 64] = {};
};

}  // namespace quarry
