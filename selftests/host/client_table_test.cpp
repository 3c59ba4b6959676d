// SPDX-License-Identifier: MIT
//
// ClientTable: indices by AtomicBits, chunks made when first needed, clients as objects of
// the table's cache, refusals, threads.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "../../module/core/pool/client_table.hpp"
#include "host_platform.hpp"

namespace quarry {
namespace {

using P = HostPlatform;
using Table = ClientTable<P>;
using Cache = ObjectCache<Client<P>, Client<P>::CacheLock, Client<P>::kSlabBytes>;
using Control = ObjectControl<Client<P>, Client<P>::CacheLock, Client<P>::kSlabBytes>;
constexpr u64 kControlBytes = sizeof(Control);
constexpr u64 kSlabMetaBytes = sizeof(Control::Slab);

#if QUARRY_HOST_TSAN
constexpr u64 kRounds = 2000;
#else
constexpr u64 kRounds = 50'000;
#endif

void expect_clean(const Table& table, u32 clients) {
    Audit audit;
    table.verify(audit, true);
    EXPECT_TRUE(audit.clean()) << audit.result().first;
    EXPECT_EQ(table.count(), clients);
}

TEST(ClientTable, EveryIndexFrom1ToTheMostIsGivenOnceAndNoMore) {
    for (const u32 max : {1u, 63u, 64u, 65u, 1024u}) {
        Table table(max);
        ASSERT_EQ(table.init(), Error::none);
        std::set<ClientIndex> seen;
        std::vector<Client<P>*> clients;
        while (const auto client = table.add(nullptr, clients.size(), 0)) {
            clients.push_back(*client);
            EXPECT_TRUE(seen.insert((*client)->index()).second);
            EXPECT_EQ(table.find((*client)->index()), *client);
        }
        EXPECT_EQ(clients.size(), max);
        EXPECT_EQ(*seen.begin(), 1u);
        EXPECT_EQ(*seen.rbegin(), max);
        EXPECT_EQ(table.add(nullptr, 0, 0).error(), Error::too_many);
        EXPECT_EQ(table.find(kNobody), nullptr);
        expect_clean(table, max);
        // What is removed is found no more, and its index is given again.
        const ClientIndex index = clients[max / 2]->index();
        table.remove(*clients[max / 2]);
        EXPECT_EQ(table.find(index), nullptr);
        const auto again = table.add(nullptr, 0, 0);
        ASSERT_TRUE(again);
        EXPECT_EQ((*again)->index(), index);
        clients[max / 2] = *again;
        for (auto* client : clients) table.remove(*client);
        expect_clean(table, 0);
    }
}
TEST(ClientTable, ATableCostsNoMoreThanItsFirstChunksBeforeItHasClients) {
    Table table(65534);
    const u64 before = P::meta_bytes();
    ASSERT_EQ(table.init(), Error::none);
    // A pointer for 64 indices, a bit for each, the summary; the cache's control block.
    EXPECT_EQ(P::meta_bytes() - before, 1024u * 8 + 1024 * 8 + 16 * 8 + 8 + kControlBytes);
    EXPECT_EQ(table.meta_bytes(), P::meta_bytes() - before);
    const auto client = table.add(nullptr, 1, 0);
    ASSERT_TRUE(client);
    EXPECT_EQ((*client)->index(), 1u);
    EXPECT_EQ(table.meta_bytes(), P::meta_bytes() - before);
    table.remove(**client);
    Table small(15);
    const u64 between = P::meta_bytes();
    ASSERT_EQ(small.init(), Error::none);
    EXPECT_EQ(P::meta_bytes() - between, 16u + kControlBytes);
}

// Clients take whole pages, 12 in each; what is empty goes back, but for one page.
TEST(ClientTable, ClientsGrowByPagesAndAtMostOneEmptyPageIsKept) {
    constexpr u32 kInPage = Cache::kSlots;
    EXPECT_EQ(kInPage, 12u);
    Table table(1000);
    ASSERT_EQ(table.init(), Error::none);
    const u64 empty = P::meta_bytes();
    std::vector<Client<P>*> clients;
    u64 chunks = 0;
    for (u32 n = 1; n <= 10 * kInPage; ++n) {
        const auto client = table.add(nullptr, n, 0);
        ASSERT_TRUE(client);
        clients.push_back(*client);
        chunks = n / 64 + 1;  // index 0 is nobody's
        const u64 pages = (n + kInPage - 1) / kInPage;
        EXPECT_EQ(P::meta_bytes() - empty, chunks * 512 + pages * (4096 + kSlabMetaBytes)) << n;
        EXPECT_EQ(table.objects(), n);
        EXPECT_EQ(table.meta_bytes(), P::meta_bytes());
    }
    for (auto* client : clients) table.remove(*client);
    P::settle();
    EXPECT_EQ(table.objects(), 0u);
    EXPECT_EQ(P::meta_bytes() - empty, chunks * 512 + 4096 + kSlabMetaBytes);
    expect_clean(table, 0);
}

TEST(ClientTable, ARemovedClientStaysReadableForWhoFoundItBefore) {
    Table table(4);
    ASSERT_EQ(table.init(), Error::none);
    const auto client = table.add(&table, 77, 5);
    ASSERT_TRUE(client);
    std::atomic<int> stage{0};
    std::thread reader([&] {
        P::Thread scope;
        ReadGuard<P> guard;
        Client<P>* found = table.find(1);
        stage = 1;
        while (stage != 2) std::this_thread::yield();
        // The next of its number is there, and this one is still whole.
        EXPECT_EQ(found->id(), 77u);
        EXPECT_EQ(found->limit(), 5u);
        EXPECT_EQ(found->pool(), &table);
        EXPECT_NE(table.find(1), found);
        EXPECT_EQ(table.find(1)->id(), 78u);
        stage = 3;
    });
    while (stage != 1) std::this_thread::yield();
    table.remove(**client);
    EXPECT_EQ(table.find(1), nullptr);
    const auto next = table.add(&table, 78, 6);
    ASSERT_TRUE(next);
    EXPECT_EQ((*next)->index(), 1u);
    EXPECT_NE(*next, *client) << "its memory is not given again before its readers have left";
    EXPECT_EQ(table.objects(), 2u);
    EXPECT_EQ(P::waiting_calls(), 1u);
    stage = 2;
    reader.join();
    EXPECT_EQ(stage, 3);
    P::settle();
    EXPECT_EQ(table.objects(), 1u);
    expect_clean(table, 1);
    table.remove(**next);
}

// The pool goes, and a reader still has one of its clients: the last box frees the cache.
TEST(ClientTable, AClientOutlivesItsTableWhileItIsRead) {
    const u64 before = P::meta_bytes();
    auto table = std::make_unique<Table>(4);
    ASSERT_EQ(table->init(), Error::none);
    const auto client = table->add(nullptr, 9, 0);
    ASSERT_TRUE(client);
    Client<P>* found = *client;
    std::atomic<int> stage{0};
    std::thread reader([&] {
        P::Thread scope;
        {
            ReadGuard<P> guard;
            found = table->find(1);
            stage = 1;
            while (stage != 2) std::this_thread::yield();
            EXPECT_EQ(found->id(), 9u);
        }
        stage = 3;
    });
    while (stage != 1) std::this_thread::yield();
    table->remove(*found);
    table.reset();
    EXPECT_EQ(P::meta_bytes() - before, kControlBytes + 4096 + kSlabMetaBytes);
    stage = 2;
    reader.join();
    P::settle();
    EXPECT_EQ(P::meta_bytes(), before);
}

TEST(ClientTable, RefusedMetadataIsAnErrorAndTheIndexIsFreeAgain) {
    for (u64 nth = 1;; ++nth) {
        P::refuse_allocation(nth);
        Table table(100);
        const Error e = table.init();
        if (ok(e)) {
            const auto client = table.add(nullptr, 1, 0);
            expect_clean(table, client ? 1 : 0);
            if (client) {
                table.remove(**client);
                // The table, the control block, a chunk, a slab, its descriptor.
                EXPECT_EQ(nth, 6u);
                break;
            }
            EXPECT_EQ(client.error(), Error::no_memory);
        } else {
            EXPECT_EQ(e, Error::no_memory);
        }
        ASSERT_EQ(P::refusals(), 1u);
    }
}
// Joins and leaves on both threads, at the edge of the table: chunks are made by two at a time.
TEST(ClientTable, ThreadsThatJoinAndLeaveNeverShareAnIndex) {
    constexpr u32 kMax = 200;
    Table table(kMax);
    ASSERT_EQ(table.init(), Error::none);
    std::vector<std::atomic<int>> holder(kMax + 1);
    std::atomic<u64> wrong{0};
    auto worker = [&](int me) {
        P::Thread scope;
        std::vector<Client<P>*> mine;
        u64 random = static_cast<u64>(me);
        for (u64 i = 0; i < kRounds; ++i) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            if (mine.size() < kMax / 2 && (mine.empty() || random >> 61 < 5)) {
                const auto client = table.add(&table, i, 0);
                if (!client) {
                    ++wrong;  // the other one has no more than its half
                    continue;
                }
                if (holder[(*client)->index()].exchange(me) != 0) ++wrong;
                mine.push_back(*client);
            } else {
                std::swap(mine[(random >> 33) % mine.size()], mine.back());
                Client<P>* client = mine.back();
                mine.pop_back();
                if (table.find(client->index()) != client) ++wrong;
                if (holder[client->index()].exchange(0) != me) ++wrong;
                table.remove(*client);
            }
        }
        for (auto* client : mine) {
            holder[client->index()] = 0;
            table.remove(*client);
        }
    };
    std::thread a(worker, 1), b(worker, 2);
    for (int i = 0; i < 1000; ++i) {
        ReadGuard<P> reader;
        for (u32 index = 0; index <= kMax + 1; ++index)
            if (Client<P>* client = table.find(static_cast<ClientIndex>(index)))
                if (client->index() != index) ++wrong;
    }
    a.join();
    b.join();
    EXPECT_EQ(wrong, 0u);
    expect_clean(table, 0);
}

}  // namespace
}  // namespace quarry
