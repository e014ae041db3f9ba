def is_supported(precision: int, /) -> bool: ...
def forward_block(
    precision: int,
    block: int,
    x: int,
    y: int,
    cu_seqlens: int,
    num_sequences: int,
    rows: int,
    num_threads: int,
    /,
) -> None: ...
def forward_product(
    precision: int, product: int, x: int, y: int, num_rows: int, num_threads: int, /
) -> None: ...
