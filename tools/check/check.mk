# SPDX-License-Identifier: MIT
.PHONY: check
check: ## static checks: style, layers, laws, seam, symbols (NAMES="..." for some)
	@tools/deps.sh check vm kernels
	@tools/check/check.sh $(NAMES)
