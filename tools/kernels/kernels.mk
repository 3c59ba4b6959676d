# SPDX-License-Identifier: MIT
# Module builds for Debian's kernels, and the cache of kernels behind them and behind the virtual machines.
KERNELS_ALL := 6.1 6.12 newest
KERNEL ?=

.PHONY: module modules kernels uml
module: ## build quarry.ko for a stock kernel [KERNEL=6.1|6.12|newest, 6.1 when unset]
	@tools/deps.sh kernels
	@tools/kernels/module.sh $(or $(KERNEL),6.1)

modules: ## build quarry.ko for every supported kernel
	@tools/deps.sh kernels
	@for kernel in $(KERNELS_ALL); do tools/kernels/module.sh $$kernel; done

kernels: ## fetch every kernel that tests and checks use into the cache
	@tools/deps.sh kernels
	@for kernel in $(KERNELS_ALL); do \
		tools/kernels/get.sh headers $$kernel; tools/kernels/get.sh image $$kernel; done
	@tools/kernels/newest-toolchain.sh

uml: ## build the User Mode Linux kernels into the cache
	@tools/deps.sh kernels
	@for kernel in 6.1 newest; do tools/kernels/uml.sh $$kernel; done
