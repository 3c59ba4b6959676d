// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// BitmapSlab<T>: slots of one type in a block of memory that the caller brings, for any
// number of threads, without a lock. T may have any size (3 bytes, 24, more than a page).
// alloc() moves a value in; free() or a Handle destroys it and gives the slot back.
//
//     alignas(64) static unsigned char block[64 << 10];
//     quarry::BitmapSlab<Packet> slab;
//     if (!ok(slab.init(block, sizeof(block)))) return;  // objects first, bitmap at the end
//     auto packet = slab.make(Packet{7});                // a Handle; empty: slab.count() live
//     if (packet) packet->send();                        // goes home with its scope, on any thread
//
//     quarry::BitmapSlab<Packet>::Local mine(slab);      // one thread's or CPU's way in: faster
//     auto other = mine.make(Packet{8});
//     (void)mine.drop(std::move(other));                 // or an error, and `other` still holds it
//
//   block    | T 0 | T 1 | ... | T n-1 | rest < sizeof(T) + 8 | bitmap words, summaries |
//
// n is the largest that fits: count_for(bytes) says it beforehand. init_apart() has the
// bitmap elsewhere, for memory that shall hold objects only.
//
// Errors: pool_full; of a free: invalid (null), out_of_range (not of this block),
// misaligned (inside an object), already_free. Nothing has changed then.
//
// A Local keeps the slot that it gave last as its *spare*: the bit stays set, and the next
// make() of this Local takes it with one locked operation and without the bitmap. A spare is
// free: whoever finds the bitmap full takes the others' spares before it says pool_full.
//
//   word          states                              written by                  order
//   bit of slot   0 free; 1 live, or a spare          AtomicBits                  its own head
//   Cell::spare   null; or a free slot whose bit      its Local: null -> slot,    release, pairs with
//                 is set                              a plain store               the exchange
//                                                     anyone: slot -> null,       acquire
//                                                     exchange
//   Cell::used    a Local has this cell               CAS by Local's constructor  acquire
//                                                     its destructor              release
//
// Of two racing free() of one object one wins, and the other is already_free; T's destructor
// may then have run twice, for the slot's one bit is cleared only after it. A Handle excludes
// that. Beyond telling is the free of a pointer after its slot was allocated again, and the
// free of a raw pointer *while* a Local drops the Handle of the same object, which owned it.
//
// Context: any, down to NMI; a Local is one caller's at a time (a thread, or a CPU with
// interrupts off). Costs: O(1); make and free one CAS each (atomic_bits.hpp), make and drop of
// a Local one exchange together; free() of a raw pointer also looks at the spare of each Local.
#pragma once

#include <new>
#include <utility>

#include "atomic_bits.hpp"

namespace quarry {

template <typename T, typename Trace = NoTrace, u32 Locals = 8>
class BitmapSlab {
public:
    using Bits = AtomicBits<Trace>;
    class Handle;
    class Local;

private:
    struct alignas(64) Cell {
        std::atomic<T*> spare{nullptr};
        std::atomic<bool> used{false};
    };

public:
    // ---- sizes, before there is anything ----

    // Bytes of bitmap for `count` slots.
    static constexpr u64 bitmap_bytes(u64 count) { return Bits::words_for(count) * sizeof(u64); }
    // Slots in a block of so many bytes that holds its bitmap too. O(log bytes).
    static constexpr u64 count_for(u64 bytes) {
        return most([bytes](u64 n) {
            return n <= bytes / sizeof(T) &&
                   round_up(n * sizeof(T), sizeof(u64)) + bitmap_bytes(n) <= round_down(bytes, 8);
        });
    }
    // Slots in a block whose bitmap has a place of so many bytes elsewhere.
    static constexpr u64 count_for(u64 bytes, u64 bitmap) {
        return most([=](u64 n) { return n <= bytes / sizeof(T) && bitmap_bytes(n) <= bitmap; });
    }

    BitmapSlab() = default;
    BitmapSlab(const BitmapSlab&) = delete;
    BitmapSlab& operator=(const BitmapSlab&) = delete;

    // The block is the slab's until the slab ends; what it holds does not matter. Errors:
    // invalid (null, or too small for one), misaligned (to T, and to 8 for the bitmap),
    // too_large (beyond 2^30 slots), initialised. Context: before any other call.
    Error init(void* block, u64 bytes) {
        const u64 n = count_for(bytes);
        if (!block || n == 0) return Error::invalid;
        if (reinterpret_cast<u64>(block) % alignof(u64)) return Error::misaligned;
        auto* end = static_cast<unsigned char*>(block) + round_down(bytes, sizeof(u64));
        return begin(block, end - bitmap_bytes(n), n);
    }
    Error init_apart(void* block, u64 bytes, void* bitmap, u64 bytes_of_bitmap) {
        const u64 n = count_for(bytes, bytes_of_bitmap);
        if (!block || !bitmap || n == 0) return Error::invalid;
        return begin(block, bitmap, n);
    }

    // ---- objects ----

    // A T made of `args` (a value is moved in) in a free slot. Errors: pool_full; then the
    // arguments were not touched.
    template <typename... Args>
    Result<T*> alloc(Args&&... args) {
        return construct(take(0), std::forward<Args>(args)...);
    }
    template <typename... Args>
    Handle make(Args&&... args) {
        return Handle(*this, alloc(std::forward<Args>(args)...));
    }

    // Destroys the object and gives its slot back.
    Error free(T* object) {
        u32 slot;
        if (const Error e = slot_of(object, slot); !ok(e)) return e;
        if (is_spare(object)) return Error::already_free;
        return destroy(object, slot);
    }
    // A live object becomes a Handle's. The caller owns it. Errors as free, in the Handle.
    Handle adopt(T* object) {
        u32 slot;
        Error e = slot_of(object, slot);
        if (ok(e) && (!bits_.taken(slot) || is_spare(object))) e = Error::already_free;
        return Handle(*this, ok(e) ? Result<T*>(object) : Result<T*>(e));
    }

    u32 count() const { return bits_.slots(); }
    // Objects alive: of this instant where nobody else is at work. O(count / 64).
    u32 live() const {
        u32 n = bits_.count();
        for (const Cell& cell : cells_) n -= cell.spare.load(std::memory_order_relaxed) != nullptr;
        return n;
    }
    // The slot of a pointer into the block, and back. Errors: invalid, out_of_range, misaligned.
    Error slot_of(const T* object, u32& slot) const {
        if (!object) return Error::invalid;
        const u64 offset = reinterpret_cast<u64>(object) - reinterpret_cast<u64>(objects_);
        if (offset >= u64{bits_.slots()} * sizeof(T)) return Error::out_of_range;
        slot = static_cast<u32>(offset / sizeof(T));
        return offset % sizeof(T) ? Error::misaligned : Error::none;
    }
    T* at(u32 slot) const { return objects_ + slot; }

    // The bitmap is sound; each spare is a slot of its own whose bit is set. `quiet`: nobody
    // else is at work. O(count / 64).
    void verify(Audit& audit, bool quiet = true) const {
        bits_.verify(audit, quiet);
        for (u32 i = 0; i < Locals; ++i) {
            const T* spare = cells_[i].spare.load(std::memory_order_acquire);
            if (!spare) continue;
            u32 slot = 0;
            audit.expect(ok(slot_of(spare, slot)), "a spare is no slot", i);
            if (!quiet) continue;
            audit.expect(bits_.taken(slot), "a spare slot is free in the bitmap", slot);
            for (u32 k = 0; k < i; ++k)
                audit.expect(cells_[k].spare.load(std::memory_order_relaxed) != spare,
                             "two callers have one spare", slot);
        }
        audit.saw_objects(live());
    }

    // For tests.
    Bits& bits() { return bits_; }

    // ---- one caller's way in ----

    class Local {
    public:
        // Takes one of the slab's cells; where none is left it works without a spare.
        // O(Locals). The slab outlives this.
        explicit Local(BitmapSlab& slab) : slab_(slab), cell_(slab.claim_cell()) {}
        ~Local() {
            flush();
            if (cell_) cell_->used.store(false, std::memory_order_release);
        }
        Local(const Local&) = delete;
        Local& operator=(const Local&) = delete;

        template <typename... Args>
        Result<T*> alloc(Args&&... args) {
            if (cell_ && cell_->spare.load(std::memory_order_relaxed)) {
                T* spare = cell_->spare.exchange(nullptr, std::memory_order_acquire);
                if (spare && slab_.still_ours(spare)) [[likely]]
                    return new (static_cast<void*>(spare)) T(std::forward<Args>(args)...);
            }
            const auto slot = slab_.take(near_);
            if (slot) near_ = *slot;
            return slab_.construct(slot, std::forward<Args>(args)...);
        }
        template <typename... Args>
        Handle make(Args&&... args) {
            return Handle(slab_, alloc(std::forward<Args>(args)...));
        }

        // Destroys the handle's object and keeps its slot as the spare, or gives it back.
        // Errors: invalid (empty), out_of_range (another slab's), already_free (somebody
        // freed it behind the handle's back); the handle is empty after all but the first two.
        Error drop(Handle&& handle) {
            if (!handle) return Error::invalid;
            if (handle.slab_ != &slab_) return Error::out_of_range;
            T* object = handle.release();
            const u32 slot = static_cast<u32>(object - slab_.objects_);
            if (!cell_ || cell_->spare.load(std::memory_order_relaxed))
                return slab_.destroy(object, slot);
            if (!slab_.bits_.taken(slot)) return Error::already_free;
            object->~T();
            cell_->spare.store(object, std::memory_order_release);
            return Error::none;
        }

        // The spare goes back to the bitmap. Idle callers need not: it is found.
        void flush() {
            if (!cell_) return;
            if (T* spare = cell_->spare.exchange(nullptr, std::memory_order_acquire))
                (void)slab_.bits_.give(static_cast<u32>(spare - slab_.objects_));
        }

    private:
        BitmapSlab& slab_;
        Cell* cell_;
        u32 near_ = 0;
    };

    // An object that goes home when this ends; on whichever thread. Two words. The slab
    // outlives it. A Handle itself is one thread's at a time.
    class [[nodiscard]] Handle {
    public:
        Handle() = default;
        Handle(Handle&& from) noexcept
            : slab_(from.slab_), object_(std::exchange(from.object_, nullptr)) {}
        Handle& operator=(Handle&& from) noexcept {
            if (this == &from) return *this;
            (void)reset();
            slab_ = from.slab_;
            object_ = std::exchange(from.object_, nullptr);
            return *this;
        }
        ~Handle() { (void)reset(); }

        explicit operator bool() const { return object_ != nullptr; }
        T* get() const { return object_; }
        T& operator*() const { return *object_; }
        T* operator->() const { return object_; }

        // Gives the object back now. Errors: already_free (somebody freed it behind this).
        Error reset() {
            if (!object_) return Error::none;
            T* object = release();
            return slab_->destroy(object, static_cast<u32>(object - slab_->objects_));
        }
        // The caller owns the object from here on.
        [[nodiscard]] T* release() { return std::exchange(object_, nullptr); }

    private:
        friend BitmapSlab;
        friend Local;
        Handle(BitmapSlab& slab, Result<T*> object) : slab_(&slab), object_(*object) {}

        BitmapSlab* slab_ = nullptr;
        T* object_ = nullptr;
    };

private:
    // The largest n that `fits`, which holds up to some n and for none beyond it.
    template <typename Fits>
    static constexpr u64 most(Fits&& fits) {
        u64 low = 0, high = BitLevels::kMostSlots;
        while (low < high) {
            const u64 middle = low + (high - low + 1) / 2;
            if (fits(middle))
                low = middle;
            else
                high = middle - 1;
        }
        return low;
    }

    Error begin(void* block, void* bitmap, u64 n) {
        if (reinterpret_cast<u64>(block) % alignof(T)) return Error::misaligned;
        if (const Error e = bits_.init(bitmap, n); !ok(e)) return e;
        objects_ = static_cast<T*>(block);
        return Error::none;
    }

    Result<u32> take(u32 from) {
        if (const auto slot = bits_.take(from)) return slot;
        return take_spare();
    }
    // The bitmap was full. Spares first, then the bitmap again: a slot that was free all the
    // time either still was a spare, or had gone to the bitmap, which it leaves only to live.
    [[gnu::noinline]] Result<u32> take_spare() {
        for (Cell& cell : cells_) {
            if (!cell.spare.load(std::memory_order_acquire)) continue;
            T* spare = cell.spare.exchange(nullptr, std::memory_order_acquire);
            if (spare && still_ours(spare)) return static_cast<u32>(spare - objects_);
            Trace::raced();
        }
        return bits_.take();
    }

    template <typename... Args>
    Result<T*> construct(Result<u32> slot, Args&&... args) {
        if (!slot) return slot.error();
        return new (static_cast<void*>(at(*slot))) T(std::forward<Args>(args)...);
    }
    Error destroy(T* object, u32 slot) {
        if (!bits_.taken(slot)) return Error::already_free;
        object->~T();
        return bits_.give(slot);
    }

    // A spare whose bit somebody cleared, who freed a raw pointer that a Handle owned, is
    // the bitmap's alone.
    bool still_ours(const T* spare) const {
        return bits_.taken(static_cast<u32>(spare - objects_));
    }
    bool is_spare(const T* object) const {
        for (const Cell& cell : cells_)
            if (cell.spare.load(std::memory_order_acquire) == object) return true;
        return false;
    }
    Cell* claim_cell() {
        for (Cell& cell : cells_) {
            bool used = false;
            if (cell.used.compare_exchange_strong(used, true, std::memory_order_acquire,
                                                  std::memory_order_relaxed))
                return &cell;
        }
        return nullptr;
    }

    Bits bits_;
    T* objects_ = nullptr;
    Cell cells_[Locals];
};

}  // namespace quarry
