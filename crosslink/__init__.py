"""Crosslinks: shard headers, channels and transfers between shards, the beacon, its followers.

How a shard's application uses this, in the order of one block (``BlockInput`` → ``BlockResult``):

    batches = executed.filter(block.height, block.batches)                  # executed_batches.ExecutedBatches
    view    = follower.view_at(block.beacon_ref.height)                     # follower.BeaconFollower
    machine.begin_block(block.height, block.beacon_ref.height, view)        # transfers.TransferMachine
    machine.release()                                                       # pending credits become free
    intake  = derive_inbox(follower, block.parent_cursor, block.beacon_ref.height, parameters)
    for item in intake.items: machine.consume(item.message)                 # receive, settle
    …  transactions; for a lock: validate_lock → charge the fee → apply_lock,
       inside savepoint() / rollback() where a transaction may fail after it
    summary = ShardSummary(assets, machine.summarise_peers())               # summary.compute_summary_root
    changes = machine.take_changes() | executed.take_changes() | the venue's own
    result  = BlockResult(outbox=machine.outbox, outbox_root=merkle.compute_root(machine.outbox),
                          inbox_cursor=intake.cursor, summary=encode(summary), …)

``release`` and ``consume`` come before every transaction, never after: the verdicts lead the outbox, and only
locks are ever rolled back. After a restart: ``machine.load``, ``executed.load`` and ``follower.load`` with the
records under their own prefixes. ``inbox.assess_readiness`` answers ``Application.readiness``.

A member of the beacon runs ``beacon.BeaconApplication`` under the same replica and makes, for every certified
block and shard, the ``bundle.BeaconBlock`` that it pushes to that shard's followers.
"""
