// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The magazines of one client on one CPU: the words that the client maps, and what the
// kernel alone knows of them.
//
//   block, 128 KiB in the client's area          memory behind it
//   0       64 headers of 16 bytes               the base: 16 KiB in one piece, there when
//   1024    48 small arrays of 64 entries        the block is
//   16384   14 large arrays of 2048 entries      8 KiB each, when a magazine grows into one
//
//   word                written by                           read by
//   top                 the client, in a sequence; here      here, once a step, bounded by
//                                                            the shadow's first and capacity
//   entries below top   the client, in a sequence; here      here, once each
//   first, end          here, from the shadow, each time     never here: so what a client
//                                                            scribbles is mended by the next
//                                                            refill or flush
//   Shadow, pieces_     here                                 here
//   armed_, wants_      here                                 anyone, as a hint
//
// first, top and end count in entries from the start of the block: top - first are held, end -
// first may be. A magazine is *armed* while its words are not 0: only then can a client that
// keeps the rules put something in. A drain disarms what it has emptied, so that the
// next one passes it by; the next refill or flush arms it again.
//
// It begins with kMinMagazine entries. Four refills or flushes within 10 ms double it, up to
// kMaxMagazine and kMagazineBytes of slots; a drain under pressure halves it.
//
// Everything here runs in an exclusive hold of the CPU (magazine_calls.hpp) or for a CPU
// that is offline, in steps of at most kStepEntries; nothing is locked or allocated, and
// nothing can fail.
#pragma once

#include <atomic>

#include "../platform/platform.hpp"
#include "../slabs/owner_policy.hpp"

namespace quarry {

inline constexpr u32 kMinMagazine = 64;
inline constexpr u32 kMaxMagazine = 2048;
inline constexpr u64 kMagazineBytes = 256 << 10;  // most bytes of slots in one
inline constexpr u32 kStepEntries = 32;
inline constexpr u32 kBurst = 4;
inline constexpr u64 kBurstNs = 10'000'000;

using MagazineEntry = std::atomic<u32>;  // offset / 8

// What the client maps: struct quarry_magazine of the ABI.
struct UserMagazine {
    std::atomic<u32> top;
    std::atomic<u32> end;
    std::atomic<u32> first;
    std::atomic<u32> reserved;
};
static_assert(sizeof(UserMagazine) == 16 && sizeof(MagazineEntry) == 4);
static_assert(std::atomic<u32>::is_always_lock_free);

inline constexpr u32 kHeaderBytes = 64 * sizeof(UserMagazine);
inline constexpr u32 kBaseBytes = QUARRY_CORE_MAGAZINE_BASE;
inline constexpr u32 kPieceBytes = QUARRY_CORE_MAGAZINE_PIECE;
inline constexpr u32 kPieces = QUARRY_CORE_MAGAZINE_PIECES;

constexpr u32 small_array(u32 c) { return kHeaderBytes + c * kMinMagazine * sizeof(MagazineEntry); }
constexpr u32 piece_array(u32 piece) { return kBaseBytes + piece * kPieceBytes; }
static_assert(small_array(kClasses) <= kBaseBytes);
static_assert(kMaxMagazine * sizeof(MagazineEntry) == kPieceBytes);
static_assert(piece_array(kPieces) == 1u << 17);

// Entries that a magazine of this slot size may have: a power of two.
constexpr u32 most_entries(u32 slot_bytes) {
    const u64 fit = kMagazineBytes / slot_bytes;
    return fit >= kMaxMagazine ? kMaxMagazine : u32{1} << highest_bit(fit);
}
static_assert(most_entries(8) == 2048 && most_entries(136) == 1024 && most_entries(2048) == 128);

class CpuMagazines {
public:
    // `base`: kBaseBytes of zeroes that the client can write to from now on.
    explicit CpuMagazines(void* base) : base_(static_cast<char*>(base)) {
        for (u32 c = 0; c < kClasses; ++c) shadow_[c].entries = at_base(small_array(c));
    }

    // ---- anyone ----

    u64 armed() const { return armed_.load(std::memory_order_relaxed); }
    u64 armed_count() const {
        return popcount(static_cast<u32>(armed())) + popcount(static_cast<u32>(armed() >> 32));
    }
    bool wants_piece() const { return wants_.load(std::memory_order_relaxed); }
    u32 capacity(u32 c) const { return shadow_[c].capacity.load(std::memory_order_relaxed); }
    // The last object that was put here, which may be anybody's by now; or kApart.
    Offset last(u32 c) const {
        const u32 entry = shadow_[c].last.load(std::memory_order_relaxed);
        return entry == kNone ? kApart : u64{entry} * kGrain;
    }
    // A piece that has no memory yet, or kPieces.
    u32 missing_piece() const {
        u32 k = 0;
        while (k < kPieces && piece_[k].load(std::memory_order_relaxed)) ++k;
        return k;
    }
    // Memory for piece k; false: it has some already, or this is none.
    bool bring_piece(u32 k, void* memory) {
        wants_.store(false, std::memory_order_relaxed);
        MagazineEntry* none = nullptr;
        return memory && piece_[k].compare_exchange_strong(
                             none, static_cast<MagazineEntry*>(memory), std::memory_order_release,
                             std::memory_order_relaxed);
    }
    // None can be had: do not ask again until the next burst.
    void give_up() { wants_.store(false, std::memory_order_relaxed); }

    // ---- exclusive ----

    // Puts up to n objects on top, the first of them topmost, until half of the magazine is
    // full; answers how many. Arms it. n at most kStepEntries.
    u32 put(u32 c, const Offset* objects, u32 n) {
        Shadow& s = arm(c);
        const u32 capacity = s.capacity.load(std::memory_order_relaxed);
        const u32 count = bounded(c, capacity);
        const u32 half = capacity / 2;
        const u32 room = count < half ? half - count : 0;
        if (n > room) n = room;
        MagazineEntry* to = s.entries + count;
#pragma GCC unroll 8
        for (u32 i = n; i--; ++to)
            to->store(static_cast<u32>(objects[i] / kGrain), std::memory_order_relaxed);
        publish(c, count + n);
        if (n)
            s.last.store(static_cast<u32>(objects[n - 1] / kGrain), std::memory_order_relaxed);
        return n;
    }

    // Takes up to n entries from `at` on (the oldest lie at 0) as long as more than `keep`
    // are left; answers how many. The newest fill the hole: at most kStepEntries move. Sets
    // `left`.
    u32 take(u32 c, u32 at, u32 n, u32 keep, Offset* out, u32& left) {
        Shadow& s = shadow_[c];
        const u32 capacity = is_armed(c) ? s.capacity.load(std::memory_order_relaxed) : 0;
        const u32 count = bounded(c, capacity);
        left = count;
        if (count <= keep) {
            if (is_armed(c)) publish(c, count);
            return 0;
        }
        if (n > count - keep) n = count - keep;
        if (at + n > count) at = count - n;
        const u32 above = count - (at + n);
        const u32 moved = above < n ? above : n;
        MagazineEntry* hole = s.entries + at;
        const Offset* const end = out + n;
#pragma GCC unroll 8
        for (MagazineEntry* from = hole; out != end; ++from)
            *out++ = u64{from->load(std::memory_order_relaxed)} * kGrain;
        MagazineEntry* const behind = s.entries + count;
#pragma GCC unroll 8
        for (MagazineEntry* from = behind - moved; from != behind; ++from, ++hole)
            hole->store(from->load(std::memory_order_relaxed), std::memory_order_relaxed);
        left = count - n;
        publish(c, left);
        return n;
    }

    // One more refill or flush: of a burst, the magazine grows. `now()` reads the clock.
    template <typename Now>
    void note_use(u32 c, u32 slot_bytes, Now&& now) {
        Shadow& s = arm(c);
        if (++s.uses < kBurst) return;
        s.uses = 0;
        const u64 then = s.since;
        s.since = now();
        if (then == 0 || s.since - then >= kBurstNs) return;
        const u32 capacity = s.capacity.load(std::memory_order_relaxed);
        const u32 count = bounded(c, capacity);
        if (capacity * 2 > most_entries(slot_bytes)) return;
        if (!s.piece && !move_to_piece(c, count)) return;
        s.capacity.store(static_cast<u16>(capacity * 2), std::memory_order_relaxed);
        publish(c, count);
    }

    // It is empty: until the next refill or flush nothing can be put into it.
    void disarm(u32 c, bool shrink) {
        UserMagazine& m = magazine(c);
        Shadow& s = shadow_[c];
        m.end.store(0, std::memory_order_relaxed);
        m.first.store(0, std::memory_order_relaxed);
        m.top.store(0, std::memory_order_relaxed);
        armed_.store(armed() & ~bit(c), std::memory_order_relaxed);
        s.uses = 0;
        s.since = 0;
        const u32 capacity = s.capacity.load(std::memory_order_relaxed);
        if (!shrink || !s.piece) return;
        s.capacity.store(static_cast<u16>(capacity / 2), std::memory_order_relaxed);
        if (capacity / 2 > kMinMagazine) return;
        pieces_used_ &= static_cast<u16>(~(1u << (s.piece - 1)));
        s.piece = 0;
        s.entries = at_base(small_array(c));
    }

    // ---- quiescent: no call of this client runs, and no drain ----

    // Is the kernel's half whole? Answers what is wrong, or null.
    const char* fault() const {
        u16 used = 0;
        for (u32 c = 0; c < kClasses; ++c) {
            const Shadow& s = shadow_[c];
            const u32 capacity = s.capacity.load(std::memory_order_relaxed);
            if (capacity & (capacity - 1) || capacity > kMaxMagazine)
                return "a magazine's capacity is impossible";
            if (is_armed(c) && capacity == 0) return "a magazine without capacity is armed";
            if (!s.piece) {
                if (capacity > kMinMagazine || s.entries != at_base(small_array(c)))
                    return "a small magazine is not in its place";
                continue;
            }
            const u16 mine = static_cast<u16>(1u << (s.piece - 1));
            if (s.piece > kPieces || used & mine ||
                s.entries != piece_[s.piece - 1].load(std::memory_order_relaxed))
                return "two magazines share their memory";
            used |= mine;
        }
        return used == pieces_used_ ? nullptr : "a piece of magazines is lost";
    }

private:
    static constexpr u32 kNone = ~u32{0};
    struct Shadow {
        MagazineEntry* entries = nullptr;
        u64 since = 0;  // when the last burst's last use was
        std::atomic<u32> last{kNone};
        std::atomic<u16> capacity{0};
        u8 piece = 0;  // 0: the small array; else one more than the piece's number
        u8 uses = 0;
    };

    static constexpr u64 bit(u32 c) { return u64{1} << c; }
    bool is_armed(u32 c) const { return armed() & bit(c); }
    UserMagazine& magazine(u32 c) { return reinterpret_cast<UserMagazine*>(base_)[c]; }
    MagazineEntry* at_base(u32 bytes) const {
        return reinterpret_cast<MagazineEntry*>(base_ + bytes);
    }

    // Of entry 0, in entries from the block's start.
    u32 first(u32 c) const {
        const Shadow& s = shadow_[c];
        return (s.piece ? piece_array(s.piece - 1) : small_array(c)) / sizeof(MagazineEntry);
    }
    // Entries, by the client's word, read once.
    u32 bounded(u32 c, u32 capacity) {
        const u32 top = magazine(c).top.load(std::memory_order_relaxed);
        const u32 bottom = first(c);
        if (top <= bottom) return 0;
        return top - bottom < capacity ? top - bottom : capacity;
    }

    Shadow& arm(u32 c) {
        Shadow& s = shadow_[c];
        if (is_armed(c)) return s;
        if (!s.capacity.load(std::memory_order_relaxed))
            s.capacity.store(kMinMagazine, std::memory_order_relaxed);
        armed_.store(armed() | bit(c), std::memory_order_relaxed);
        publish(c, 0);
        return s;
    }

    // Entries before top: who reads the words from another CPU finds what top promises.
    void publish(u32 c, u32 count) {
        UserMagazine& m = magazine(c);
        const u32 bottom = first(c);
        m.first.store(bottom, std::memory_order_relaxed);
        m.end.store(bottom + shadow_[c].capacity.load(std::memory_order_relaxed),
                    std::memory_order_relaxed);
        m.top.store(bottom + count, std::memory_order_release);
    }

    // False: not now. None is free (then one is wanted), or too many entries would move.
    bool move_to_piece(u32 c, u32 count) {
        Shadow& s = shadow_[c];
        if (count > kStepEntries) return false;
        for (u32 k = 0; k < kPieces; ++k) {
            MagazineEntry* to = piece_[k].load(std::memory_order_acquire);
            if (!to || pieces_used_ & 1u << k) continue;
            for (u32 i = 0; i < count; ++i)
                to[i].store(s.entries[i].load(std::memory_order_relaxed),
                            std::memory_order_relaxed);
            pieces_used_ |= static_cast<u16>(1u << k);
            s.piece = static_cast<u8>(k + 1);
            s.entries = to;
            return true;
        }
        wants_.store(missing_piece() < kPieces, std::memory_order_relaxed);
        return false;
    }

    [[maybe_unused]] u64 retired_[2] = {};  // the platform's after retirement
    char* base_;
    std::atomic<u64> armed_{0};
    std::atomic<MagazineEntry*> piece_[kPieces] = {};
    std::atomic<bool> wants_{false};
    u16 pieces_used_ = 0;
    Shadow shadow_[kClasses];
};

}  // namespace quarry
