"""Asset bundles (Declarative Automation Bundles): read, checked and run without a workspace."""
