"""Streams on Kafka: the one home of aiokafka."""
