"""The node tools: which nodes the operator holds, and how a person takes them back into use."""
