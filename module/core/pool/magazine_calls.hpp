// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What moves objects between a pool and its clients' magazines.
//
//   refill      half a magazine: one object for the caller, the rest into the magazine of this CPU
//   flush       what this CPU's magazine has beyond half goes home, and one object of the caller's
//   drain       all that a client's magazines hold, on all CPUs
//   drain_all   the same for all clients of the pool
//
// An object in a magazine is the client's, as one in use is: granted at refill, taken back at
// flush and drain by the same change of its owner record that a free makes. So nothing here
// is of interest to a reaper or an audit, and what a client writes into its magazines decides
// nothing: an entry that is no slot of this class and client is reported and dropped.
//
// A magazine is touched by its CPU alone: by refill and flush in an exclusive hold of the CPU
// they run on, by drains in work on that CPU; each hold moves at most 32 entries to or from a
// local array, and what they need is taken before and given back after it.
//
// Cost: refill and flush O(entries moved). A drain visits what is armed: O(entries cached), and
// drain_all a pointer for each client there may be; nothing when nothing is armed.
// Context: task, no lock, not pinned, no reader.
#pragma once

#include "client_magazines.hpp"
#include "slot_batches.hpp"

namespace quarry {

template <MagazinePlatform P>
class MagazineCalls {
public:
    explicit MagazineCalls(Pool<P>& pool) : pool_(pool), slots_(pool) {}

    // Gives a client magazines, without memory yet. Errors: not_supported (no slots in this
    // pool, or larger than kMaxSlot), initialised, no_memory.
    Error open(Client<P>& client, void* os) {
        if (!served(0)) return Error::not_supported;
        if (client.magazines.load(std::memory_order_acquire)) return Error::initialised;
        auto& census = pool_.census();
        if (!census.cursors.load(std::memory_order_acquire)) {
            const std::size_t bytes = P::cpus() * sizeof(Cursor);
            auto* made = static_cast<Cursor*>(P::meta_alloc(bytes, Context::may_sleep));
            if (!made) return Error::no_memory;
            Cursor* none = nullptr;
            if (!census.cursors.compare_exchange_strong(none, made, std::memory_order_acq_rel))
                P::meta_free(made, bytes);
            else
                census.meta_bytes.fetch_add(bytes, std::memory_order_relaxed);
        }
        auto* made = ClientMagazines<P>::make(census, os);
        if (!made) return Error::no_memory;
        ClientMagazines<P>* none = nullptr;
        if (client.magazines.compare_exchange_strong(none, made, std::memory_order_acq_rel))
            return Error::none;
        ClientMagazines<P>::retire(made);
        return Error::initialised;
    }

    // Is this a class whose slots magazines hold?
    bool served(u32 c) const {
        return !pool_.ranges() && c < pool_.slabs().classes() &&
               pool_.slabs().size_class(c).slot_bytes <= kMaxSlot;
    }

    // `one` for the caller, `filled` into the magazine of this CPU. It succeeds when it has the
    // one. Errors: invalid (no such class), those of Pool::alloc.
    PoolGranted refill(Client<P>& client, u32 c, bool can_grow, Offset& one, u32& filled) {
        filled = 0;
        if (!served(c)) return {0, Error::invalid, 0};
        const u64 start = P::trace_timed() ? P::ns() : 0;
        const u32 slot_bytes = pool_.slabs().size_class(c).slot_bytes;
        auto* m = client.magazines.load(std::memory_order_acquire);
        CpuMagazines* here = m ? m->on(P::cpu()) : nullptr;
        const u32 capacity = here ? here->capacity(c) : 0;
        // Whole steps, the one included: then they are whole words of a slab.
        const u32 wanted = here ? (capacity ? capacity : kMinMagazine) / 2 - 1 : 0;

        QUARRY_NO_INIT Offset got[kStepEntries];
        u32 n = slots_.take_some(client, c, here ? kStepEntries : 1, got,
                                 here ? here->last(c) : kAnywhere);
        if (n == 0) {
            const auto granted =
                pool_.alloc(client, slot_bytes, kGrain, 1, got, Context::may_sleep, can_grow);
            if (granted.done == 0) return granted;
            n = 1;
        }
        one = got[0];
        // Once for each call, whatever it brought.
        if (here) put(*m, client, c, got + 1, n - 1, true, filled);
        // On while there is as much as was asked for, and room for it.
        while (filled < wanted && (filled + 1) % kStepEntries == 0) {
            P::breathe();
            n = slots_.take_some(client, c, kStepEntries, got, got[n - 1]);
            if (n == 0 || !put(*m, client, c, got, n, false, filled)) break;
        }
        P::trace_refill(pool_.config().os, slot_bytes, 1 + filled, start ? P::ns() - start : 0);
        return {1, Error::none, 0};
    }

    struct Flushed {
        u32 drained = 0;           // entries taken out of the magazine
        u32 bad = 0;               // of those, no objects of this client's
        Error bad_error = Error::none;
        Offset bad_offset = 0;     // the first of them
        Error why = Error::none;   // what became of the object
    };
    // `object` may be null. Errors, in `why`: invalid (no such class), those of Pool::free.
    Flushed flush(Client<P>& client, u32 c, const Offset* object, PoolRefusal& refusal) {
        Flushed f;
        if (!served(c)) {
            f.why = Error::invalid;
            return f;
        }
        const u64 start = P::trace_timed() ? P::ns() : 0;
        const u32 slot_bytes = pool_.slabs().size_class(c).slot_bytes;
        auto* m = client.magazines.load(std::memory_order_acquire);
        bool gone = false;  // the object, too
        QUARRY_NO_INIT Offset out[kStepEntries];
        for (u32 at = 0, most = kMaxMagazine; m && f.drained < most; at += kStepEntries) {
            u32 capacity = 0;
            const u32 n = take_half(*m, c, slot_bytes, at, out, capacity);
            if (at == 0) most = capacity / 2;
            if (n == 0) break;
            f.drained += n;
            const bool last = f.drained >= most || n < kStepEntries;
            send_home(*m, client, c, out, n, f, last ? object : nullptr, gone);
            if (last) break;
            P::breathe();
        }
        if (object && !gone) f.why = pool_.free(client, object, 1, refusal).why;
        const u32 moved = f.drained - f.bad + (object && ok(f.why));
        P::trace_drain(pool_.config().os, slot_bytes, moved, start ? P::ns() - start : 0);
        return f;
    }

    struct Drained {
        u64 slots = 0;        // that came home
        u64 magazines = 0;    // that held something
        u32 unreachable = 0;  // CPUs
    };
    // Empties a client's magazines. `pressure`: because memory is wanted; they shrink.
    Drained drain(Client<P>& client, bool pressure) {
        if (!client.magazines.load(std::memory_order_acquire)) return {};
        return visit(&client, pressure);
    }
    Drained drain_all(bool pressure) {
        if (!pool_.census().armed.load(std::memory_order_relaxed)) return {};
        return visit(nullptr, pressure);
    }

private:
    using Cursor = MagazineCensus::Cursor;

    // Nothing else runs on this CPU, nor on its magazines.
    class Exclusive {
    public:
        Exclusive() : state_(P::exclusive_enter()) {}
        ~Exclusive() { P::exclusive_leave(state_); }
        Exclusive(const Exclusive&) = delete;
        Exclusive& operator=(const Exclusive&) = delete;
        unsigned cpu() const { return P::exclusive_cpu(state_); }

    private:
        decltype(P::exclusive_enter()) state_;
    };

    // Into the magazine of the CPU that this runs on; false: not all. The rest goes home.
    bool put(ClientMagazines<P>& m, Client<P>& client, u32 c, const Offset* objects, u32 n,
             bool first, u32& filled) {
        u32 fit = 0;
        {
            Exclusive hold;
            if (CpuMagazines* here = m.on(hold.cpu())) {
                fit = m.count_armed(*here, [&] {
                    if (first)
                        here->note_use(c, pool_.slabs().size_class(c).slot_bytes,
                                       [] { return P::ns(); });
                    return here->put(c, objects, n);
                });
            }
        }
        filled += fit;
        if (fit < n) {
            ReadGuard<P> reader;
            // Granted just now and not told to anyone: whoever freed them has guessed.
            slots_.give_slots(client, c, objects + fit, n - fit, [](Error, Offset, u64) {});
        }
        return fit == n;
    }

    u32 take_half(ClientMagazines<P>& m, u32 c, u32 slot_bytes, u32 at, Offset* out,
                  u32& capacity) {
        Exclusive hold;
        CpuMagazines* here = m.on(hold.cpu());
        if (!here) return 0;
        return m.count_armed(*here, [&] {
            capacity = here->capacity(c);
            u32 left = 0;
            const u32 taken = here->take(c, at, kStepEntries, capacity / 2, out, left);
            if (at == 0) here->note_use(c, slot_bytes, [] { return P::ns(); });
            return taken;
        });
    }

    template <typename Count>
    u32 send_home(ClientMagazines<P>& m, Client<P>& client, u32 c, const Offset* objects, u32 n,
                  Count& count, const Offset* also, bool& gone) {
        ReadGuard<P> reader;
        return slots_.give_slots(
            client, c, objects, n,
            [&](Error e, Offset offset, u64 owner) {
                if (count.bad++ == 0) {
                    count.bad_error = e;
                    count.bad_offset = offset;
                }
                P::magazine_refused(m.os(), e, offset, owner);
            },
            also, gone);
    }

    // ---- drains ----

    struct Visit {
        MagazineCalls* calls;
        Client<P>* only;
        bool pressure;
        bool timed;
        u64 number;
        std::atomic<u64> slots{0};
        std::atomic<u64> magazines{0};
    };
    // Clients without anything armed that one step passes by.
    static constexpr u32 kStepClients = 64;

    Drained visit(Client<P>* only, bool pressure) {
        Visit v{this, only, pressure, P::trace_timed(),
                pool_.census().drains.fetch_add(1, std::memory_order_relaxed) + 1};
        Drained d;
        d.unreachable = P::on_each_cpu_steps(
            [](void* arg, unsigned cpu) -> int {
                Visit& visit = *static_cast<Visit*>(arg);
                return visit.only ? visit.calls->step(visit, *visit.only, cpu)
                                  : visit.calls->step_all(visit, cpu);
            },
            &v);
        d.slots = v.slots.load(std::memory_order_relaxed);
        d.magazines = v.magazines.load(std::memory_order_relaxed);
        return d;
    }

    // 32 entries of one magazine of this CPU; false: nothing is armed any more.
    bool step(Visit& visit, Client<P>& client, unsigned cpu) {
        auto* m = client.magazines.load(std::memory_order_acquire);
        CpuMagazines* here = m ? m->on(cpu) : nullptr;
        if (!here || !here->armed() || !m->enter()) return false;
        const u32 c = lowest_bit(here->armed());
        const u64 start = visit.timed ? P::ns() : 0;
        QUARRY_NO_INIT Offset out[kStepEntries];
        u32 left = 0;
        u32 n = 0;
        {
            Exclusive hold;
            n = m->count_armed(*here, [&] {
                const u32 taken = here->take(c, 0, kStepEntries, 0, out, left);
                if (left == 0) here->disarm(c, visit.pressure);
                return taken;
            });
        }
        if (n) {
            struct {
                u32 bad = 0;
                Error bad_error = Error::none;
                Offset bad_offset = 0;
            } bad;
            bool gone;
            const u32 home = send_home(*m, client, c, out, n, bad, nullptr, gone);
            visit.slots.fetch_add(home, std::memory_order_relaxed);
            if (left == 0) visit.magazines.fetch_add(1, std::memory_order_relaxed);
            P::trace_drain(pool_.config().os, pool_.slabs().size_class(c).slot_bytes, home,
                           start ? P::ns() - start : 0);
        }
        const bool more = here->armed() != 0;
        m->leave();
        return more;
    }

    bool step_all(Visit& visit, unsigned cpu) {
        ReadGuard<P> reader;
        Cursor& cursor = pool_.census().cursors.load(std::memory_order_acquire)[cpu];
        if (cursor.drain != visit.number) cursor = {visit.number, 1};
        for (u32 i = 0; i < kStepClients; ++i, ++cursor.at) {
            if (cursor.at > pool_.clients().max()) return false;
            Client<P>* client = pool_.clients().find(static_cast<ClientIndex>(cursor.at));
            if (!client) continue;
            auto* m = client->magazines.load(std::memory_order_acquire);
            const CpuMagazines* here = m && !m->closed() ? m->on(cpu) : nullptr;
            if (!here || !here->armed()) continue;
            // One step of work is one step here; the same client again, or the next.
            if (!step(visit, *client, cpu)) ++cursor.at;
            return true;
        }
        return true;
    }

    Pool<P>& pool_;
    SlotBatches<P> slots_;
};

}  // namespace quarry
