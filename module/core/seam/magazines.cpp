// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for clients' magazines: quarry_core_magazines_*, _refill, _flush.
// Nothing is decided here: C types to the core's and back.
#include "../platform/kernel.hpp"
#include "../pool/magazine_calls.hpp"
#include "../pool/reserves.hpp"

using namespace quarry;

namespace {

using Calls = MagazineCalls<KernelPlatform>;

Client<KernelPlatform>& client_of(quarry_core_client* client) {
    return *reinterpret_cast<Client<KernelPlatform>*>(client);
}
Pool<KernelPlatform>& home_of(Client<KernelPlatform>& client) {
    return *static_cast<Pool<KernelPlatform>*>(client.pool());
}
Calls calls_of(Client<KernelPlatform>& client) { return Calls(home_of(client)); }
ClientMagazines<KernelPlatform>* magazines_of(quarry_core_client* client) {
    return client_of(client).magazines.load(std::memory_order_acquire);
}
void tell(const Calls::Drained& drained, quarry_core_drained* out) {
    out->slots = drained.slots;
    out->magazines = drained.magazines;
    out->unreachable = drained.unreachable;
}

}  // namespace

extern "C" {

int quarry_core_magazines_open(quarry_core_client* client, void* os_client) {
    auto& c = client_of(client);
    return to_seam(calls_of(c).open(c, os_client));
}

void quarry_core_magazines_bring(quarry_core_client* client, unsigned int cpu) {
    if (auto* magazines = magazines_of(client)) magazines->bring(cpu);
}

void quarry_core_magazines_prepare(quarry_core_client* client) {
    if (auto* magazines = magazines_of(client)) magazines->prepare(KernelPlatform::cpu());
}

int quarry_core_refill(quarry_core_client* client, uint32_t class_index, uint64_t* object,
                       uint32_t* filled, uint64_t* pages, int can_grow) {
    auto& c = client_of(client);
    u32 put = 0;
    Offset one = 0;
    const auto granted = calls_of(c).refill(c, class_index, can_grow != 0, one, put);
    *object = one;
    *filled = put;
    *pages = granted.pages;
    return to_seam(granted.why);
}

int quarry_core_flush(quarry_core_client* client, uint32_t class_index, const uint64_t* object,
                      quarry_core_flushed* flushed, quarry_core_refusal* refusal) {
    auto& c = client_of(client);
    PoolRefusal why;
    // What the client has set aside is free to whoever names it in a call.
    const bool aside = object && ReserveCalls<KernelPlatform>(home_of(c), c).holds(*object);
    auto f = calls_of(c).flush(c, class_index, aside ? nullptr : object, why);
    if (aside && ok(f.why)) {
        f.why = Error::already_free;
        why = {*object, 0};
    }
    flushed->drained = f.drained;
    flushed->bad = f.bad;
    flushed->bad_error = to_seam(f.bad_error);
    flushed->bad_offset = f.bad_offset;
    refusal->offset = why.offset;
    refusal->owner = why.owner;
    return to_seam(f.why);
}

void quarry_core_magazines_drain(quarry_core_client* client, int pressure,
                                 quarry_core_drained* drained) {
    auto& c = client_of(client);
    tell(calls_of(c).drain(c, pressure != 0), drained);
}

void quarry_core_magazines_drain_all(quarry_core_pool* pool, int pressure,
                                     quarry_core_drained* drained) {
    Calls calls(*reinterpret_cast<Pool<KernelPlatform>*>(pool));
    tell(calls.drain_all(pressure != 0), drained);
}

}  // extern "C"
